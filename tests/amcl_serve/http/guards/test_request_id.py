from __future__ import annotations

import logging
import re

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.logs import request_id
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture

PNG = {"content-type": "image/png"}
MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("number", ["a", "01J-Z_9.x:y/z+w=@", "x" * 128, "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"])
def test_a_clients_id_comes_back(client: TestClient, number: str) -> None:
    assert client.get("/livez", headers={"x-request-id": number}).headers["x-request-id"] == number


@pytest.mark.parametrize("number", ["", " ", "x" * 129, "a b", "a\tb", "a;b", '{"a"}', "ü".encode("latin-1"), b"\x7f"])
def test_any_other_id_is_replaced(client: TestClient, number: str | bytes) -> None:
    first, second = (
        client.get("/livez", headers=[(b"x-request-id", number if isinstance(number, bytes) else number.encode())])
        for _ in range(2)
    )
    assert MADE.fullmatch(first.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_every_error_has_it(settings: Settings) -> None:
    secret = {"api_key": SecretStr("key"), "cors_origins": "https://example.org"}
    app = create_app(settings.model_copy(update=secret))
    app.add_api_route("/bug", lambda: 1 / 0)
    client = TestClient(app, raise_server_exceptions=False)
    key = {"x-api-key": "key", "x-request-id": "mine"}
    responses = {
        401: client.get("/models", headers={"x-request-id": "mine"}),
        404: client.get("/nowhere", headers=key),
        405: client.get("/embed", headers=key),
        413: client.post("/embed", content=b" " * 100_000, headers=PNG | key),
        422: client.put("/collections/c", json={}, headers=key),
        500: client.get("/bug", headers=key),
        503: client.post("/embed", content=picture(1), headers=PNG | key),  # not started
    }
    for status, response in responses.items():
        assert (response.status_code, response.headers["x-request-id"]) == (status, "mine")
        assert float(response.headers["x-total-time"]) >= 0
    preflight = {"origin": "https://example.org", "access-control-request-method": "POST", "x-request-id": "mine"}
    assert client.options("/embed", headers=preflight).headers["x-request-id"] == "mine"


def test_a_request_is_a_line_of_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "amcl_serve.requests"):
        client.get("/livez")
    assert not caplog.records  # by default it is for debugging
    with caplog.at_level("DEBUG", "amcl_serve.requests"):
        client.get("/made%0Aup\N{LATIN SMALL LETTER U WITH DIAERESIS}?key=secret")
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert re.fullmatch(r"GET /made%0Aup%C3%BC 404 in \d+\.\d ms", record.getMessage())
    request = record.request  # type: ignore[attr-defined]
    assert set(request) == {"client", "method", "path", "status", "milliseconds"}
    assert (request["method"], request["status"]) == ("GET", 404)


def test_a_setting_makes_it_a_line_at_info(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(settings.model_copy(update={"log_requests": True}))
    with caplog.at_level("INFO", "amcl_serve.requests"):
        TestClient(app).get("/livez")
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_what_a_route_logs_knows_its_request(settings: Settings) -> None:
    app = create_app(settings)
    seen: list[str | None] = []

    async def route() -> None:
        seen.append(request_id.get())

    def threaded() -> None:
        seen.append(request_id.get())

    app.add_api_route("/a", route)
    app.add_api_route("/b", threaded)
    client = TestClient(app)
    for path in "ab":
        client.get(f"/{path}", headers={"x-request-id": path})
    assert seen == ["a", "b"]
    assert request_id.get() is None


ORIGIN = "https://example.org"


def test_no_origin_is_allowed_by_default(client: TestClient) -> None:
    response = client.get("/models", headers={"origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert (
        client.options("/embed", headers={"origin": ORIGIN, "access-control-request-method": "POST"}).status_code == 405
    )


def cross_origin(settings: Settings, origins: str) -> FastAPI:
    return create_app(settings.model_copy(update={"cors_origins": origins, "api_key": SecretStr("key")}))


def test_an_allowed_origin(settings: Settings) -> None:
    app = cross_origin(settings, f"http://localhost:3000, {ORIGIN}")
    app.add_api_route("/bug", lambda: 1 / 0)
    client = TestClient(app, raise_server_exceptions=False)
    asked = {"access-control-request-method": "PUT", "access-control-request-headers": "authorization,content-type"}
    preflight = client.options("/collections/c", headers={"origin": ORIGIN} | asked)  # browsers send no key with it
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    refused = client.get("/models", headers={"origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in refused.headers  # cookies stay at home
    failed = client.get("/bug", headers={"origin": ORIGIN, "x-api-key": "key"})
    assert (failed.status_code, failed.headers["access-control-allow-origin"]) == (500, ORIGIN)
    other = {"origin": "https://example.com"}
    assert client.options("/collections/c", headers=other | asked).status_code == 400
    assert "access-control-allow-origin" not in client.get("/livez", headers=other).headers


def test_any_origin(settings: Settings) -> None:
    response = TestClient(cross_origin(settings, "*")).get("/livez", headers={"origin": ORIGIN})
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "origins", ["example.org", "https://example.org/", "https://a.org;https://b.org/x", "null", "* *"]
)
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(ValueError, match="an origin is a scheme and a host"):
        Settings(cors_origins=origins)
