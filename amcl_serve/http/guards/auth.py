"""Asks requests for a key, before anything of their body is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.errors import AmclError, Forbidden, Unauthorized
from amcl_serve.http.about import Route
from amcl_serve.http.answers.problem import problem_response
from amcl_serve.http.guards.keys import Access, Keys
from amcl_serve.http.guards.limits import SAFE
from amcl_serve.http.metrics import Metrics

KEY_HEADERS = ("x-api-key", "api-key")  # beside Authorization: Bearer
_ACCESS = "amcl_serve.access"  # what the request may do, in the ASGI scope: no client can set it


Needed = Callable[[str, str], Access | None]  # of a request's method and path; None: no key is asked for


def by_route(routes: Iterable[BaseRoute]) -> Needed:
    """What a request needs by what its route says of itself; what no route takes changes nothing if it only reads."""

    def needed(method: str, path: str) -> Access | None:
        for route in routes:
            if isinstance(route, Route) and method in (route.methods or ()) and route.path_regex.fullmatch(path):
                return route.about.access
        return Access.READ if method in SAFE else Access.WRITE

    return needed


class KeyCheck:
    """ASGI middleware: 401 without a key or with an unknown one, 403 where a read-only key would write.

    Without keys everything passes. `needed` tells what a request needs; `refuse` makes the answer from the error and
    the request's path.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        metrics: Metrics,
        needed: Needed,
        refuse: Callable[[AmclError, str], Response] = problem_response,
    ) -> None:
        self.app = app
        self.keys = keys
        self.metrics = metrics
        self.needed = needed
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        error = self._error(scope) if scope["type"] == "http" and self.keys else None
        if error is None:
            await self.app(scope, receive, send)
        else:
            self.metrics.rejected.labels(error.code).inc()
            await self.refuse(error, scope["path"])(scope, receive, send)

    def _error(self, scope: Scope) -> AmclError | None:
        needed = self.needed(scope["method"], scope["path"])
        if needed is None:
            return None
        key = sent_key(scope)
        access = scope.get(_ACCESS) if key is None else self.keys.access(key)
        if access is None:
            why = "this server asks for a key" if key is None else "the key is none of this server's"
            return Unauthorized(f"{why}; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        if access is Access.READ and needed is Access.WRITE:
            return Forbidden("the key is read-only; this request needs a read-write one")
        return None


def grant(scope: Scope, access: Access) -> None:
    """Let the request of `scope` do what a key with `access` may, if it sends no key itself."""
    scope[_ACCESS] = access


def sent_key(scope: Scope) -> bytes | None:
    """The key that a request sends, of the first of the headers it has; None without any."""
    headers = Headers(scope=scope)
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip().encode("latin-1")
    return next((headers[name].encode("latin-1") for name in KEY_HEADERS if name in headers), None)
