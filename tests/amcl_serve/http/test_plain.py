"""The routes that are found by their path alone answer as they do in FastAPI's way."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.http import app as application
from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture

PNG = {"content-type": "image/png"}
A = base64.b64encode(picture(1)).decode()
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("/embed", {"content": picture(1), "headers": PNG}),
    "json": ("/embed", {"json": {"images": [A, "?"], "outputs": ["features", "heads"]}}),
    "npy": ("/embed", {"content": picture(1), "headers": PNG | {"accept": "application/x-npy"}}),
    "undecodable": ("/embed", {"content": b"?", "headers": PNG}),
    "no JSON": ("/embed", {"content": b"{", "headers": {"content-type": "application/json"}}),
    "no form": ("/embed", {"content": b"?", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
    "unknown field": ("/embed", {"json": {"images": [A], "output": "heads"}}),
    "no type": ("/embed", {"content": b"?"}),
    "unknown model": ("/embed", {"json": {"images": [A], "model": "other"}}),
    "too long": ("/embed", {"content": [b" " * 100_000], "headers": PNG}),  # a list: of no declared length
    "pair": ("/similarity", {"json": {"a": [A], "b": [A]}}),
    "half a pair": ("/similarity", {"json": {"a": [A], "b": []}}),
    "openai": ("/v1/embeddings", {"json": {"model": "tiny", "input": A}}),
    "openai, undecodable": ("/v1/embeddings", {"json": {"model": "tiny", "input": "?"}}),
}


@pytest.fixture(scope="module")
def usual(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that finds every route in FastAPI's way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "PlainRoutes", lambda app, **_: app)
        app = create_app(settings.model_copy(update={"data_dir": tmp_path_factory.mktemp("usual")}))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client


@pytest.mark.parametrize("query", ["", "?unknown=1"])
@pytest.mark.parametrize("name", REQUESTS)
def test_found_by_path_alone_a_route_answers_the_same(
    client: TestClient, usual: TestClient, name: str, query: str
) -> None:
    path, arguments = REQUESTS[name]
    plain, through = (each.post(path + query, **arguments) for each in (client, usual))
    assert plain.status_code == through.status_code
    assert plain.content == through.content
    assert set(plain.headers) == set(through.headers)
    assert plain.headers["content-type"] == through.headers["content-type"]


def test_a_query_string_counts(client: TestClient) -> None:
    assert set(client.post("/embed?outputs=heads", **REQUESTS["raw"][1]).json()["data"][0]) == {"index", "heads"}
    wrong = client.post("/embed?outputs=head", **REQUESTS["raw"][1])
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


def test_both_ways_count_for_the_same_route(settings: Settings) -> None:
    client = TestClient(create_app(settings))  # not started: 503
    for query in ("", "?normalize=1"):
        assert client.post(f"/embed{query}", **REQUESTS["raw"][1]).status_code == 503
    text = client.get("/metrics").text
    assert 'amcl_requests_total{method="POST",route="/embed",status="503"} 2.0' in text


@pytest.mark.parametrize("query", ["", "?normalize=1"])
def test_a_bug_is_500_and_the_servers_to_log(client: TestClient, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bug(images: object, **options: object) -> None:
        raise ZeroDivisionError

    app = client.app
    assert isinstance(app, FastAPI)
    monkeypatch.setattr(app.state.server.registry.get().engine, "embed", bug)
    response = client.post(f"/embed{query}", **REQUESTS["raw"][1])
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    with pytest.raises(ZeroDivisionError):
        TestClient(app).post(f"/embed{query}", **REQUESTS["raw"][1])
