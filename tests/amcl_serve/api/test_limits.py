from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.amcl_serve.api.conftest import LIMITS, picture

LIMIT = LIMITS["max_body_bytes"]
FORM = "multipart/form-data; boundary=x"
HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize("route", ["/embed", "/similarity"])
@pytest.mark.parametrize("kind", ["image/png", "application/json", FORM])
@pytest.mark.parametrize("declared", [True, False])
def test_too_many_bytes(client: TestClient, route: str, kind: str, declared: bool) -> None:
    if route == "/similarity" and kind == "image/png":
        pytest.skip("refused for its type")

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


def test_reading_stops_at_the_limit(client: TestClient) -> None:
    sent = 0

    async def receive() -> dict[str, object]:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": b" " * 1024, "more_body": True}

    status = []

    async def send(message: dict[str, object]) -> None:
        status.append(message.get("status"))

    scope = {
        "type": "http", "method": "POST", "path": "/embed", "raw_path": b"/embed", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"image/png")], "http_version": "1.1", "scheme": "http", "server": ("x", 80),
    }  # fmt: skip
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    assert status[0] == 413
    assert sent == LIMIT // 1024 + 1


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
