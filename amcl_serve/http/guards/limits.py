"""The limits on a request's body: its bytes, its time, and the bytes that all requests hold together."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amcl_serve.errors import BodyTooLarge, DeadlineExceeded, Overloaded, UnsupportedMediaType
from amcl_serve.http.answers.problem import problem_response
from amcl_serve.http.guards.deadline import Deadline
from amcl_serve.http.guards.in_flight import InFlight
from amcl_serve.http.metrics import Metrics
from amcl_serve.http.reading.headers import header
from amcl_serve.settings import Settings

SLOWEST_UPLOAD = 64 * 1024  # bytes a second by which the deadline of an archive moves
_FORM_BYTES = 64 * 1024  # around an archive
SAFE = ("GET", "HEAD", "OPTIONS")  # their bodies are not read
FULL = Overloaded("as many requests are under way as the server takes at a time; try again in a moment")


class BodyLimit:
    """ASGI middleware: refuses a Content-Length above the limit at once, watches any other body as it comes.

    With `max_requests` of them whole, or as many on their way as the queue holds images, it refuses a further one
    before it costs any work: under overload most of a server's time would go into requests that end in 429. Uploads
    have the larger limit, because a slow one costs little; what is whole gets the smaller, because whoever waits longer
    is not answered sooner, and a thousand waiting requests crowd the encoder out of the processor's caches.

    It raises BodyTooLarge, Overloaded (the requests under way would hold more than `max_inflight_bytes`; one alone
    always may go on) or DeadlineExceeded out of the route's own reading, so that parsers close what they opened.

    A form sent to one of `uploads` brings an archive, which no memory holds: it has `max_archive_bytes` and the time
    that so much takes.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        in_flight: InFlight,
        metrics: Metrics,
        uploads: Sequence[re.Pattern[str]] = (),
    ) -> None:
        self.app = app
        self.settings = settings
        self.in_flight = in_flight
        self.metrics = metrics
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless it is too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = header(scope, b"content-length")
        upload = bool(self.uploads) and self._is_upload(scope)
        limit = self.settings.max_archive_bytes + _FORM_BYTES if upload else self.settings.max_body_bytes
        if declared.isdecimal() and int(declared) > limit:
            self.metrics.rejected.labels(BodyTooLarge.code).inc()
            await problem_response(_too_large(limit, upload), scope["path"])(scope, receive, send)
            return
        if scope["method"] in SAFE:
            await self.app(scope, receive, send)
            return
        coding = header(scope, b"content-encoding").strip().lower()
        if coding not in ("", "identity"):
            self.metrics.rejected.labels(UnsupportedMediaType.code).inc()
            error = UnsupportedMediaType(
                f"the body has the content encoding {coding[:64]!r}; send it as it is, without Content-Encoding"
            )
            await problem_response(error, scope["path"])(scope, receive, send)
            return
        if self.in_flight.full:
            self.metrics.rejected.labels(FULL.code).inc()
            await problem_response(FULL, scope["path"])(scope, receive, send)
            return
        deadline, began = Deadline(self.settings.request_deadline), time.monotonic()
        read = held = 0
        complete = False

        async def counted() -> Message:
            nonlocal read, held, complete, deadline
            if complete:  # what comes now is the client's going away
                return await receive()
            try:
                message = await deadline.wait(receive)
            except TimeoutError:
                seconds = time.monotonic() - began if upload else self.settings.request_deadline
                raise DeadlineExceeded(f"the body was not complete within {seconds:.4g} seconds") from None
            size = len(message.get("body", b""))
            read += size
            if upload:
                deadline.end()
                left = self.settings.request_deadline + read / SLOWEST_UPLOAD + began - time.monotonic()
                deadline = Deadline(max(0.0, left))
            else:
                held += size
                self.in_flight.bytes += size
            if not message.get("more_body", False):
                complete = True
                self.in_flight.whole += 1
                deadline.end()
            if read > limit:
                raise _too_large(limit, upload)
            if held and self.in_flight.bytes > max(read, self.settings.max_inflight_bytes):
                raise Overloaded("the requests under way fill the server's room for bodies; try again in a moment")
            return message

        self.in_flight.requests += 1
        try:
            await self.app(scope, counted, send)
        finally:
            deadline.end()
            self.in_flight.requests -= 1
            self.in_flight.whole -= complete
            self.in_flight.bytes -= held

    def _is_upload(self, scope: Scope) -> bool:
        return (
            scope["method"] == "POST"
            and any(path.fullmatch(scope["path"]) for path in self.uploads)
            and header(scope, b"content-type").lower().startswith("multipart/form-data")
        )


def _too_large(limit: int, upload: bool) -> BodyTooLarge:
    instead = "pack fewer images" if upload else "send fewer or smaller images a request"
    return BodyTooLarge(f"the body has more than {limit} bytes; {instead}")
