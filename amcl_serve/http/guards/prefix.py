"""A server behind a path of a proxy, such as https://example.org/amcl/."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.http.reading.headers import header

HEADER = b"x-forwarded-prefix"
PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Prefix:
    """ASGI middleware: the path in front of the server's own, which its links begin with, becomes the `root_path`.

    It is the setting, or what the proxy says in X-Forwarded-Prefix. Proxies take it off the request's path or leave it
    there; for what comes after this it is off.
    """

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and not scope.get("root_path"):
            prefix = self.root_path or _said(scope)
            if prefix:
                scope["root_path"] = prefix
                path = scope["path"]
                if path == prefix or path.startswith(prefix + "/"):
                    scope["path"] = path[len(prefix) :] or "/"
        await self.app(scope, receive, send)


def _said(scope: Scope) -> str:
    """What the proxy says; empty where it says nothing, or no path."""
    found = header(scope, HEADER).rstrip("/")
    return found if PATH.fullmatch(found) else ""
