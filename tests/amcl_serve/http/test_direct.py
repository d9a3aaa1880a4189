"""The routes that are called without FastAPI answer as they do through it, which a query string makes them do."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from amcl_serve.http import direct
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


@pytest.mark.parametrize("name", REQUESTS)
def test_with_and_without_fastapi_the_answer_is_the_same(
    client: TestClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[object] = []

    def request(*args: Any) -> Request:
        requests.append(args)
        return Request(*args)

    monkeypatch.setattr(direct, "Request", request)
    path, arguments = REQUESTS[name]
    plain = client.post(path, **arguments)
    assert len(requests) == 1
    through = client.post(f"{path}?unknown=1", **arguments)
    assert len(requests) == 1
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
    async def bug(images: object) -> None:
        raise ZeroDivisionError

    app = client.app
    assert isinstance(app, FastAPI)
    monkeypatch.setattr(app.state.registry.get().engine, "embed", bug)
    response = client.post(f"/embed{query}", **REQUESTS["raw"][1])
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    with pytest.raises(ZeroDivisionError):
        TestClient(app).post(f"/embed{query}", **REQUESTS["raw"][1])
