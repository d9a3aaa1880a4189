"""A connection that waits for its client within limits: uvicorn itself has none on a head's bytes and time."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import FastAPI
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from amcl_serve.errors import HeadTooLarge
from amcl_serve.http.answers.problem import problem_response
from amcl_serve.http.server import server_in

_FIRST_PROBE, _LATER_PROBES = 0.1, 1.0  # seconds
MAX_HEAD = 64 * 1024  # bytes; and again as many of what the network hands over at once


def bounded(app: FastAPI) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP protocol with an end to what it would keep, or wait for, without one.

    431 for a head, or what comes around and after the chunks of a body, of more than MAX_HEAD bytes. A connection is
    closed that has not sent a whole head within `request_deadline` seconds, or the rest of a body whose request has
    been answered. Bodies that the application reads are its own matter.
    """
    server = server_in(app)
    seconds, rejected = server.settings.request_deadline, server.metrics.rejected

    class Bounded(HttpToolsProtocol):
        _other = 0  # bytes that are no body's, since the last whole head, chunk or message
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            self._other += len(data)
            super().data_received(data)
            if self._other > MAX_HEAD and not self.transport.is_closing():
                self._refuse()
            if self._timer is None and (self.cycle is None or self.cycle.response_complete):
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def on_headers_complete(self) -> None:
            self._other = 0
            self._stop_timer()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._other = max(self._other - len(body), 0)
            super().on_body(body)

        def on_chunk_complete(self) -> None:
            self._other = 0

        def on_message_complete(self) -> None:
            self._other = 0
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn closes in any case
            """A client that has only ended its own side gets its answer; one that is gone is noticed by a reset.

            The two look alike until something is sent, so interim answers are, which every client passes over: the
            first is what a reset answers, and the next fails by it.
            """
            cycle = self.cycle
            if cycle is None or cycle.response_complete or cycle.more_body or cycle.scope["http_version"] != "1.1":
                return False
            self._ask_whether_there(_FIRST_PROBE)
            return True

        def _ask_whether_there(self, pause: float) -> None:
            cycle = self.cycle
            if cycle is not None and not cycle.response_started and not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.loop.call_later(pause, self._ask_whether_there, _LATER_PROBES)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self) -> None:
            error = HeadTooLarge(f"the request's line and headers have more than {MAX_HEAD} bytes")
            rejected.labels(error.code).inc()
            if self.cycle is None or self.cycle.response_complete:  # else an answer may have begun
                head, body = written(problem_response(error, ""))
                self.transport.write(head + b"connection: close\r\n\r\n" + body)
            self.transport.close()

    return Bounded


def written(response: Response) -> tuple[bytes, bytes]:
    """Status line and headers of a response as they are sent, without the empty line, and its body."""
    line = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}\r\n".encode()
    return line + lines(response.raw_headers), bytes(response.body)


def lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are sent."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)
