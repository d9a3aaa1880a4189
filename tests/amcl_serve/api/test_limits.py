from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.amcl_serve.api.conftest import LIMITS, picture

LIMIT = LIMITS["max_body_bytes"]
FORM = "multipart/form-data; boundary=x"
HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        ("/embed", "image/png"),
        ("/embed", "application/json"),
        ("/embed", FORM),
        ("/similarity", "application/json"),
        ("/similarity", FORM),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_too_many_bytes(client: TestClient, route: str, kind: str, declared: bool) -> None:
    def chunks() -> Iterator[bytes]:
        yield HEAD if kind == FORM else b" "
        for _ in range(100):
            yield b" " * (LIMIT // 32)

    content = b"".join(chunks()) if declared else chunks()
    response = client.post(route, content=content, headers={"content-type": kind})
    assert ("content-length" in response.request.headers) == declared
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["content-type"] == "application/problem+json"
    assert str(LIMIT) in response.json()["detail"]


def post_by_hand(client: TestClient, kind: str, messages: Iterator[dict[str, object]]) -> int:
    """The status of a POST to /embed whose body arrives as `messages`."""
    status: list[Any] = []

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        status.append(message.get("status"))

    scope = {
        "type": "http", "method": "POST", "path": "/embed", "raw_path": b"/embed", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", kind.encode())], "http_version": "1.1", "scheme": "http", "server": ("x", 80),
    }  # fmt: skip
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    return int(status[0])


def test_reading_stops_at_the_limit(client: TestClient) -> None:
    parts = iter([{"type": "http.request", "body": b" " * 1024, "more_body": True}] * 1000)
    assert post_by_hand(client, "image/png", parts) == 413
    assert 1000 - len(list(parts)) == LIMIT // 1024 + 1


@pytest.mark.parametrize("kind", ["image/png", "application/json", FORM])
def test_a_client_that_goes_away_is_no_failure_of_the_server(client: TestClient, kind: str) -> None:
    parts = iter([{"type": "http.request", "body": HEAD, "more_body": True}, {"type": "http.disconnect"}])
    assert post_by_hand(client, kind, parts) == 400


def test_a_json_body_of_a_collection_has_the_same_limit(client: TestClient) -> None:
    response = client.put(
        "/collections/c", content=iter([b" " * LIMIT, b" "]), headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.json()["status"] == {"error": response.json()["detail"]}


def test_the_limit_itself_is_allowed(client: TestClient) -> None:
    image = picture(1)
    padded = image + b"\0" * (LIMIT - len(image))  # what follows a PNG's end is ignored
    assert client.post("/embed", content=padded, headers={"content-type": "image/png"}).status_code == 200
