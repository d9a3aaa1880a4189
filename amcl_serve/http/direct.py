"""The busiest routes without FastAPI's routing and parameters, which cost more than all else of a small request."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.http.problem import known_answer


class Direct:
    """ASGI middleware, the innermost: calls the endpoint itself where FastAPI would pass it nothing but the request.

    That is for a POST without a query string to a route of `routers`, whose endpoints read the body and make the
    Response themselves; their parameters then have the defaults. The schema and all other requests are FastAPI's.
    """

    def __init__(self, app: ASGIApp, routers: tuple[APIRouter, ...]) -> None:
        self.app = app
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self.routes = {route.path: route for route in routes if route.methods == {"POST"}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        route = None
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("query_string"):
            route = self.routes.get(scope["path"])
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route  # for the metrics
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = known_answer(request, error)
            if response is None:
                raise
        await response(scope, receive, send)
