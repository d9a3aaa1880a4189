"""The limit on a request's bytes, enforced before any of the body is parsed."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amcl_serve.api.metrics import Metrics
from amcl_serve.api.problem import problem_response
from amcl_serve.errors import BodyTooLarge


class BodyLimit:
    """ASGI middleware: refuses a Content-Length above the limit at once, counts any other body's bytes as they come.

    The count raises BodyTooLarge out of the route's own reading, so that parsers close what they opened.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, metrics: Metrics) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless it is too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.max_bytes:
            self.metrics.rejected.labels(BodyTooLarge.code).inc()
            await problem_response(self._error(), scope["path"])(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise self._error()
            return message

        await self.app(scope, counted, send)

    def _error(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body has more than {self.max_bytes} bytes; send fewer or smaller images a request")
