from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.guards.limits import BodyLimit, InFlight
from amcl_serve.http.metrics import Metrics
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import LIMITS, picture

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


class Upload:
    """A PUT whose body comes when the test says so; the application is not started, so a whole body is 503."""

    def __init__(self, app: FastAPI) -> None:
        self.parts: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.answer: list[Any] = []
        scope = {
            "type": "http", "method": "PUT", "path": "/collections/c", "raw_path": b"/collections/c",
            "query_string": b"", "root_path": "", "headers": [(b"content-type", b"application/json")],
            "http_version": "1.1", "scheme": "http", "server": ("x", 80),
        }  # fmt: skip
        self.task = asyncio.create_task(app(scope, self.parts.get, self.send))

    async def send(self, message: Any) -> None:
        self.answer.append(message)

    async def put(self, data: bytes, *, more: bool = True) -> None:
        self.parts.put_nowait({"type": "http.request", "body": data, "more_body": more})
        await asyncio.sleep(0.05)

    async def status(self) -> int:
        await asyncio.wait_for(self.task, 20)
        return int(self.answer[0]["status"])


BODY = b'{"vectors": {"distance": "Cosine", "size": 3}}'


def test_a_body_that_does_not_come_is_504(settings: Settings) -> None:
    async def scenario() -> None:
        upload = Upload(create_app(settings.model_copy(update={"request_deadline": 0.3})))
        await upload.put(b"{")
        assert await upload.status() == 504
        assert b"the body was not complete within 0.3 seconds" in upload.answer[1]["body"]

    asyncio.run(scenario())


def test_bodies_under_way_share_their_room(settings: Settings) -> None:
    async def scenario() -> None:
        app = create_app(settings.model_copy(update={"max_inflight_bytes": 1024}))
        first, second = Upload(app), Upload(app)
        await first.put(b" " * 1000)
        await second.put(b" " * 25)
        assert await second.status() == 429
        assert (b"retry-after", b"1") in second.answer[0]["headers"]
        assert app.state.server.in_flight.bytes == 1000
        await first.put(BODY, more=False)  # above the limit now, but alone
        assert await first.status() == 503
        assert app.state.server.in_flight.bytes == 0

    asyncio.run(scenario())


def test_requests_beyond_the_places_of_the_queue_cost_nothing(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_queue_items": 2}))

    async def scenario() -> None:
        held = [Upload(app), Upload(app)]
        for upload in held:
            await upload.put(b" ")
        third = Upload(app)  # nothing of its body has come, nor need it
        assert await third.status() == 429
        assert (b"retry-after", b"1") in third.answer[0]["headers"]
        assert TestClient(app).get("/livez").status_code == 200
        for upload in held:
            await upload.put(BODY, more=False)
            assert await upload.status() == 503  # not started: through to the route
        assert app.state.server.in_flight.requests == 0
        later = Upload(app)
        await later.put(BODY, more=False)
        assert await later.status() == 503

    asyncio.run(scenario())


def test_whole_requests_have_a_limit_of_their_own(settings: Settings) -> None:
    answered = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await answered.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    in_flight = InFlight(most=8, most_whole=1)
    app: Any = BodyLimit(application, settings, in_flight, Metrics())

    async def scenario() -> None:
        first, second = Upload(app), Upload(app)
        for upload in (first, second):
            await upload.put(b" ")
        assert (in_flight.requests, in_flight.whole, in_flight.full) == (2, 0, False)
        await first.put(BODY, more=False)
        assert (in_flight.requests, in_flight.whole, in_flight.full) == (2, 1, True)
        assert await Upload(app).status() == 429
        await second.put(BODY, more=False)  # let in before, and not refused now
        assert in_flight.full
        answered.set()
        assert [await first.status(), await second.status()] == [200, 200]
        assert (in_flight.requests, in_flight.whole, in_flight.full) == (0, 0, False)

    asyncio.run(scenario())


def test_a_full_server_opens_again_once_half_are_answered() -> None:
    in_flight = InFlight(most=8, most_whole=4)
    seen = []
    for in_flight.whole in (3, 4, 3, 2, 3, 4, 2):
        seen.append(in_flight.full)
    assert seen == [False, True, True, False, False, True, False]
    lone = InFlight(most=8, most_whole=1)
    seen = []
    for lone.whole in (0, 1, 0, 1):
        seen.append(lone.full)
    assert seen == [False, True, False, True]
