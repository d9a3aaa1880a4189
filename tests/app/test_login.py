"""The page of a server with keys."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from amcl_serve.http.app import create_app
from amcl_serve.http.logs import request_id
from amcl_serve.settings import Settings
from app import login
from app.examples import PAIRS
from app.login import COOKIE, SECONDS, Sessions
from app.mount import mount
from tests.app.server import call_of

READ_WRITE, READ_ONLY = "key-for-all-0123", "key-to-look-4567"
PAGE_PATHS = ["/config", "/theme.css", "/favicon.ico", "/gradio_api/upload", "/gradio_api/run/predict", "/assets/x.js"]


@pytest.fixture(scope="module")
def served(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        model=str(tiny_bundle),
        data_dir=tmp_path_factory.mktemp("login"),
        session_threads=1,
        api_key=SecretStr(READ_WRITE),
        read_only_api_key=SecretStr(READ_ONLY),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")
        with TestClient(mount(create_app(settings, index=False), settings), follow_redirects=False) as client:
            yield client


@pytest.fixture
def visitor(served: TestClient) -> Iterator[TestClient]:
    served.cookies.clear()
    yield served
    served.cookies.clear()


def test_a_visitor_without_a_key_gets_a_form_and_nothing_else(visitor: TestClient) -> None:
    page = visitor.get("/")
    assert page.status_code == 401
    assert 'type="password"' in page.text
    assert "gradio" not in page.text
    assert page.headers["cache-control"] == "no-store"
    for path in PAGE_PATHS:
        for method in ("GET", "POST"):
            response = visitor.request(method, path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), path
    assert visitor.get("/livez").status_code == 200


@pytest.mark.parametrize("key", [READ_WRITE, READ_ONLY])
def test_a_key_opens_the_page_by_a_cookie_that_is_not_the_key(visitor: TestClient, key: str) -> None:
    response = visitor.post("/login", data={"key": f" {key} "})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie  # over plain HTTP the browser would drop it
    assert key not in cookie
    page = visitor.get("/")
    assert page.status_code == 200
    assert "gradio" in page.text
    call = call_of(visitor.get("/config").json(), "result")
    pair = [*({"path": path} for path in PAIRS[0].paths), None]
    body = {"data": pair, "fn_index": call, "session_hash": "test"}
    panel = visitor.post("/gradio_api/run/predict", json=body).json()["data"][0]
    assert "verdict" in panel
    assert 'role="alert"' not in panel


def test_the_cookie_reads_and_never_writes(visitor: TestClient) -> None:
    visitor.post("/login", data={"key": READ_WRITE})
    assert visitor.get("/models").status_code == 200
    response = visitor.put("/collections/c", json={"vectors": {"distance": "Cosine"}})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_over_https_the_cookie_is_secure(served: TestClient) -> None:
    with_tls = TestClient(served.app, base_url="https://testserver", follow_redirects=False)
    assert "secure" in with_tls.post("/login", data={"key": READ_ONLY}).headers["set-cookie"].lower()


@pytest.mark.parametrize("data", [{"key": "wrong"}, {"key": ""}, {"key": "schlüssel"}, {"other": READ_WRITE}, {}])
def test_a_wrong_key_says_so(visitor: TestClient, data: dict[str, str]) -> None:
    response = visitor.post("/login", data=data)
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert "set-cookie" not in response.headers
    assert "wrong" not in response.text


def test_the_forms_own_address_leads_to_the_page(visitor: TestClient) -> None:
    response = visitor.get("/login")
    assert (response.status_code, response.headers["location"]) == (303, "/")


def test_a_form_that_is_no_key_is_not_read_to_its_end(visitor: TestClient) -> None:
    response = visitor.post("/login", content=iter([b"key=" + b"x" * 4096, b"x" * 4096]))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_header_opens_the_page_too(visitor: TestClient) -> None:
    assert visitor.get("/", headers={"x-api-key": READ_ONLY}).status_code == 200
    assert visitor.get("/", headers={"x-api-key": "wrong"}).status_code == 401


def test_a_cookie_that_was_changed_or_has_ended_is_none(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions()
    value = sessions.new()
    ends, signature = value.split(".")
    assert sessions.good(value)
    assert not Sessions().good(value)  # another process
    for bad in ("", ".", f"{ends}.", f"{int(ends) + 1}.{signature}", f"{value}0", "ü.ü", "\udcff"):
        assert not sessions.good(bad)
        assert not sessions.good(f"x.{bad}")
    visitor.cookies.set(COOKIE, value)
    assert visitor.get("/").status_code == 401
    later = time.time() + SECONDS + 1
    monkeypatch.setattr(login.time, "time", lambda: later)
    assert not sessions.good(value)


def test_the_page_has_request_ids_and_so_have_its_calls(visitor: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    visitor.post("/login", data={"key": READ_ONLY})
    seen: list[tuple[str, str | None]] = []

    def note(record: Any) -> bool:
        seen.append((record.getMessage().partition(" in ")[0], request_id.get()))
        return True

    caplog.handler.addFilter(note)
    with caplog.at_level("DEBUG", "amcl_serve.requests"):
        config = visitor.get("/config", headers={"x-request-id": "mine-1"})
        call = call_of(config.json(), "result")
        body = {"data": [*({"path": path} for path in PAIRS[0].paths), None], "fn_index": call, "session_hash": "test"}
        visitor.post("/gradio_api/run/predict", json=body, headers={"x-request-id": "mine-2"})
    caplog.handler.removeFilter(note)
    assert config.headers["x-request-id"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f]{32}", visitor.get("/theme.css").headers["x-request-id"])
    assert seen == [
        ("GET /config 200", "mine-1"),
        ("POST /similarity 200", "mine-2"),
        ("POST /gradio_api/run/predict 200", "mine-2"),
    ]
