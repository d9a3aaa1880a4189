"""The busiest routes are found by their path alone: FastAPI's search and what it lays around a route cost more."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.http.about import PlainRoute
from amcl_serve.http.answers.problem import Problems


class PlainRoutes:
    """ASGI middleware, the innermost: answers a POST to a plain route, whose endpoint needs nothing but the request."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], problems: Problems) -> None:
        self.app = app
        self.problems = problems
        self.routes = {route.path: route for route in routes if isinstance(route, PlainRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        route = self.routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route  # for the metrics
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = self.problems.known(request, error)
            if response is None:
                raise
        await response(scope, receive, send)
