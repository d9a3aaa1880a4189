from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.guards.auth import by_route
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.shapes.problem import Problem
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conformance import conforms
from tests.amcl_serve.http.conftest import picture

READ_WRITE, READ_ONLY = "key-for-all-0123", "key-to-look-4567"
PNG = {"content-type": "image/png"}
WRITING = {
    ("PUT", "/collections/{name}"),
    ("DELETE", "/collections/{name}"),
    ("POST", "/collections/aliases"),
    ("PUT", "/collections/{name}/index"),
    ("DELETE", "/collections/{name}/index/{field}"),
    ("POST", "/collections/{name}/points/payload"),
    ("PUT", "/collections/{name}/points/payload"),
    ("POST", "/collections/{name}/points/payload/delete"),
    ("POST", "/collections/{name}/points/payload/clear"),
    ("PUT", "/collections/{name}/points"),
    ("POST", "/collections/{name}/points/delete"),
    ("POST", "/collections/{name}/snapshots"),
    ("PUT", "/collections/{name}/snapshots/recover"),
    ("DELETE", "/collections/{name}/snapshots/{snapshot}"),
    ("POST", "/models/{name}/load"),
    ("POST", "/models/{name}/unload"),
    ("POST", "/models/{name}/calibrate"),
    ("DELETE", "/models/{name}/calibration"),
    ("POST", "/evaluations"),
    ("DELETE", "/evaluations/{id}"),
}
FREE = {"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def locked(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    update = {
        "data_dir": tmp_path_factory.mktemp("locked"),
        "api_key": SecretStr(f"other,{READ_WRITE}"),
        "read_only_api_key": SecretStr(READ_ONLY),
    }
    app = create_app(settings.model_copy(update=update))
    with TestClient(app, raise_server_exceptions=False) as client:
        client.event_hooks["response"].append(conforms(app.openapi()))
        yield client


def app_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


def operations(client: TestClient) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, calls in app_of(client).openapi()["paths"].items() for method in calls}


def test_every_operation_but_health_asks_for_a_key(locked: TestClient) -> None:
    for method, path in operations(locked):
        response = locked.request(method, path)
        if path in FREE:
            assert response.status_code == 200
            continue
        assert response.status_code == 401, (method, path)
        assert response.headers["www-authenticate"] == 'Bearer realm="amcl-serve"'
        assert response.headers["content-type"] == "application/problem+json"
        assert Problem.model_validate(response.json()).code == "unauthorized"
    assert locked.get("/nowhere").status_code == 401
    for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json"):
        assert locked.get(path).status_code == 200


def test_a_read_only_key_is_refused_on_what_writes_and_nowhere_else(locked: TestClient) -> None:
    for method, path in operations(locked):
        response = locked.request(method, path, headers=bearer(READ_ONLY))
        if (method, path) in WRITING:
            assert (response.status_code, response.json()["code"]) == (403, "forbidden"), (method, path)
            assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
        else:
            assert response.status_code not in (401, 403), (method, path)
    assert locked.delete("/collections/none", headers=bearer(READ_WRITE)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        bearer(READ_WRITE),
        bearer("other"),
        {"authorization": f"bearer  {READ_ONLY} "},
        {"x-api-key": READ_ONLY},
        {"api-key": READ_WRITE},
        {"authorization": "Basic YTpi", "x-api-key": READ_WRITE},
    ],
)
def test_a_key_in_any_of_the_headers(locked: TestClient, headers: dict[str, str]) -> None:
    assert locked.post("/embed", content=picture(1), headers=PNG | headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        bearer("wrong"),
        bearer(""),
        bearer(f"other,{READ_WRITE}"),
        {"authorization": READ_WRITE},
        {"authorization": f"Basic {READ_WRITE}"},
        {"x-api-key": ""},
        {"api-key": READ_WRITE[:-1]},
        bearer("wrong") | {"x-api-key": READ_WRITE},
        {"cookie": f"key={READ_WRITE}"},
        {"x-api-key": "schlüssel".encode()},  # type: ignore[dict-item]
    ],
)
def test_a_wrong_key(locked: TestClient, headers: dict[str, str]) -> None:
    response = locked.post(f"/embed?key={READ_WRITE}&api_key={READ_WRITE}", content=picture(1), headers=PNG | headers)
    assert response.status_code == 401
    assert READ_WRITE not in response.text


@pytest.mark.parametrize("declared", [None, b"1000000000000"])
@pytest.mark.parametrize(("key", "status"), [(b"", 401), (READ_ONLY.encode(), 403)])
def test_a_refused_requests_body_is_not_read(
    locked: TestClient, key: bytes, status: int, declared: bytes | None
) -> None:
    answer: list[Any] = []

    async def receive() -> dict[str, object]:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        answer.append(message)

    headers = [(b"content-type", b"application/json"), (b"x-api-key", key)]
    headers += [] if declared is None else [(b"content-length", declared)]
    scope = {
        "type": "http", "method": "PUT", "path": "/collections/c", "raw_path": b"/collections/c", "query_string": b"",
        "root_path": "", "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("x", 80),
    }  # fmt: skip
    assert locked.portal is not None
    locked.portal.call(locked.app, scope, receive, send)
    assert answer[0]["status"] == status


def test_body_limits_hold_with_a_key(locked: TestClient, settings: Settings) -> None:
    too_long = iter([b" " * 1024] * (settings.max_body_bytes // 1024 + 1))
    response = locked.post("/embed", content=too_long, headers=PNG | bearer(READ_ONLY))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_refusals_are_counted(locked: TestClient) -> None:
    locked.get("/models")
    locked.delete("/collections/c", headers=bearer(READ_ONLY))
    text = locked.get("/metrics", headers=bearer(READ_ONLY)).text
    for code in ("unauthorized", "forbidden"):
        assert f'amcl_rejected_total{{reason="{code}"}}' in text
    assert READ_ONLY not in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/tiny/load"),
        ("POST", "/collections/a/snapshots"),
        ("POST", "/collections/a/b/points/query"),
        ("POST", "/collections/a/points/query/"),
        ("PUT", "/embed"),
        ("PATCH", "/models"),
        ("POST", "/what-is-not-there-yet"),
    ],
)
def test_what_is_not_known_to_read_counts_as_writing(locked: TestClient, method: str, path: str) -> None:
    needed = by_route(app_of(locked).routes)
    assert needed(method, path) is Access.WRITE
    assert needed("GET", path) is Access.READ


@pytest.mark.parametrize("path", ["/livez/", "//livez", "/docs\n", "/livez\n", "/models/livez", "/openapi.json/x"])
def test_what_only_looks_open_is_not(locked: TestClient, path: str) -> None:
    needed = by_route(app_of(locked).routes)
    assert needed("GET", path) is Access.READ
    assert needed("GET", "/livez") is None


def test_without_keys_any_key_will_do(client: TestClient) -> None:
    assert client.get("/models").status_code == 200
    assert client.get("/models", headers=bearer("whatever")).status_code == 200


def test_keys_are_read_before_anything_is_loaded(tmp_path: Path) -> None:
    from amcl_serve.errors import StartupError

    with pytest.raises(StartupError, match="cannot be read"):
        create_app(Settings(model="none", api_key_file=tmp_path / "missing"))
