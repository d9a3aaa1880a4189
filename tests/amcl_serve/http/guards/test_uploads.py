"""An archive's own limits: bytes that no memory holds, and a deadline that moves with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from amcl_serve.errors import AmclError, BodyTooLarge, DeadlineExceeded
from amcl_serve.http.guards.in_flight import InFlight
from amcl_serve.http.guards.limits import BodyLimit
from amcl_serve.http.metrics import Metrics
from amcl_serve.settings import Settings

PIECE = bytes(32 * 1024)  # half a second's worth
SETTINGS = Settings(
    max_body_bytes=1024, max_inflight_bytes=1024, max_archive_bytes=10 * len(PIECE), request_deadline=0.3
)


async def read(pieces: Iterable[bytes], pause: float, *, kind: str = "multipart/form-data; boundary=x") -> int:
    """Bytes that a route reads of pieces that come with pauses between; then nothing more comes."""
    held = InFlight(10, 10)
    total = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal total
        more = True
        while more:
            message = await receive()
            total += len(message["body"])
            more = message["more_body"]
            if kind.startswith("multipart"):
                assert held.bytes == 0

    coming = iter(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pause)
        piece = next(coming, None)
        if piece is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    guard = BodyLimit(app, SETTINGS, held, Metrics(), uploads=[re.compile("/up")])
    await guard(
        {"type": "http", "method": "POST", "path": "/up", "headers": [(b"content-type", kind.encode())]}, receive, send
    )
    return total


def test_an_archive_has_the_time_that_its_bytes_take() -> None:
    assert asyncio.run(read([PIECE] * 5 + [b""], 0.15)) == 5 * len(PIECE)  # 0.9 seconds


@pytest.mark.parametrize(
    ("pieces", "error"),
    [([PIECE], DeadlineExceeded), ([b"x"] * 50, DeadlineExceeded), ([PIECE] * 20, BodyTooLarge)],
)
def test_one_that_stalls_drips_or_is_too_large_is_refused(pieces: list[bytes], error: type[AmclError]) -> None:
    with pytest.raises(error):
        asyncio.run(read(pieces, 0.0 if error is BodyTooLarge else 0.05))


def test_json_to_the_same_route_has_the_usual_limit() -> None:
    with pytest.raises(BodyTooLarge):
        asyncio.run(read([PIECE, b""], 0.0, kind="application/json"))
