"""Answers that come line by line (NDJSON), with word of how far the work is while there is nothing else to say.

    {"progress": 0.31}
    {"group": …}
    {"result": …, "status": "ok", "time": 12.5}

The last line is `result`, or else the problem document of the error that ended the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from amcl_serve.errors import AmclError, NotReady
from amcl_serve.http.answers.problem import problem_response
from amcl_serve.http.calls import call
from amcl_serve.http.server import Server, server_of
from amcl_serve.vectors.budget import Budget

NDJSON = "application/x-ndjson"
Event = float | dict[str, Any]  # the share of the work that is done, or a line

_STEP = 0.2  # seconds of work, and
_STEP_BYTES = 1 << 20  # bytes of lines, after which the event loop hears of it
_PULSE = 1.0  # seconds between two lines of progress

_log = logging.getLogger(__name__)


class Ndjson(StreamingResponse):
    """An answer of JSON, an object a line."""

    media_type = NDJSON


class Lines(Ndjson):
    """What the steps of `events` say. They are taken in the threads of the store, one request's at a time until its
    first line, within `budget`; a client that leaves ends them.
    """

    def __init__(self, request: Request, events: Iterator[Event], budget: Budget, started: float) -> None:
        self._request = request
        self._budget = budget
        self._started = started
        self._generator = self._lines(events)
        super().__init__(self._generator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._budget.cancel()  # of a step that is under way
            await self._generator.aclose()  # gives the turn to the next

    async def _lines(self, events: Iterator[Event]) -> AsyncGenerator[bytes, None]:
        try:
            async with contextlib.aclosing(self._worked(events)) as lines:
                async for line in lines:
                    yield line
        except AmclError as error:
            yield self._problem(error)
        except Exception:  # the status has been sent
            _log.exception("a streamed answer failed")
            yield self._problem(AmclError("the server failed on this request; its log says why"))

    async def _worked(self, events: Iterator[Event]) -> AsyncGenerator[bytes, None]:
        server = server_of(self._request)
        spoken, share = time.monotonic(), 0.0
        async with contextlib.AsyncExitStack() as turn:
            while not await _taken(server.analysing):
                _check_going_on(server)
                yield orjson.dumps({"progress": 0.0}) + b"\n"
            turn.callback(server.analysing.release)
            self._budget.start()
            ended = False
            while not ended:
                lines, now, ended = await call(server, _some, events, self._budget, self._started)
                share = share if now is None else now
                if lines:
                    await turn.aclose()  # others may work while this client reads
                    yield lines
                    continue
                _check_going_on(server)
                if time.monotonic() - spoken >= _PULSE:
                    yield orjson.dumps({"progress": round(share, 3)}) + b"\n"
                    spoken = time.monotonic()

    def _problem(self, error: AmclError) -> bytes:
        server_of(self._request).metrics.rejected.labels(error.code).inc()
        return bytes(problem_response(error, self._request.url.path).body) + b"\n"


def _check_going_on(server: Server) -> None:
    """NotReady once the server stops: what it has begun to answer it answers, and it does not wait for the rest."""
    if server.stopping:
        raise NotReady("the server is stopping; ask again when it is back")


async def _taken(lock: asyncio.Lock) -> bool:
    """Whether it could be taken within a while."""
    try:
        async with asyncio.timeout(_PULSE):
            return await lock.acquire()
    except TimeoutError:
        return False


def _some(events: Iterator[Event], budget: Budget, started: float) -> tuple[bytes, float | None, bool]:
    """A little of the work: its lines, how much is done, and whether that was all."""
    until = time.monotonic() + _STEP
    lines, share = bytearray(), None
    while time.monotonic() < until and len(lines) < _STEP_BYTES:
        if budget.spent:
            raise budget.exceeded()
        event = next(events, None)
        if event is None:
            return bytes(lines), share, True
        if isinstance(event, float):
            share = event
            continue
        if "result" in event:
            event = {**event, "status": "ok", "time": round(time.perf_counter() - started, 6)}
        lines += orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    return bytes(lines), share, False
