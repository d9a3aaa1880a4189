"""x-request-id: the client's or a new one, in the answer and in every line of the log that is about the request."""

from __future__ import annotations

import logging
import random
import re
import time
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amcl_serve.http.logs import request_id
from amcl_serve.http.reading.headers import header
from amcl_serve.settings import Settings

HEADER = "x-request-id"
_NAME = HEADER.encode()
_numbers = random.Random()  # noqa: S311  ids are no secrets, and asking the system gives the interpreter's lock away
ALLOWED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

log = logging.getLogger("amcl_serve.requests")


def level_of(settings: Settings) -> int:
    """The level of the line that each request gets."""
    return logging.INFO if settings.log_requests else logging.DEBUG


def id_of(scope: Scope) -> str:
    """The request's own id, if it may have that one, or a new one."""
    sent = header(scope, _NAME)
    return sent if ALLOWED.fullmatch(sent) else f"{_numbers.getrandbits(128):032x}"


class RequestIds:
    """ASGI middleware around all others but Prefix: gives the request its id and logs its end, at `level`."""

    def __init__(self, app: ASGIApp, level: int) -> None:
        self.app = app
        self.level = level

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number = id_of(scope)
        before = request_id.set(number)
        started = time.perf_counter()
        status = 500  # of a request whose handler raised

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_NAME, number.encode())]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            if log.isEnabledFor(self.level):
                self._log(scope, status, (time.perf_counter() - started) * 1000)
        request_id.reset(before)  # not after an exception: the server that logs it should know the id

    def _log(self, scope: Scope, status: int, milliseconds: float) -> None:
        client = scope.get("client")
        # Without the query string, and quoted: a path may hold line breaks.
        method, path = quote(scope["method"]), quote(scope["path"])
        request = {
            "client": client[0] if client else None,
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(milliseconds, 2),
        }
        log.log(self.level, "%s %s %d in %.1f ms", method, path, status, milliseconds, extra={"request": request})
