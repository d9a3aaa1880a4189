"""Every route says who may call it, what errors it has, and whether images come with it."""

from __future__ import annotations

import pytest
from fastapi import Request
from pydantic import SecretStr
from starlette.responses import Response

from amcl_serve.errors import NotReady
from amcl_serve.http.about import Route, about, routes
from amcl_serve.http.app import create_app
from amcl_serve.http.guards.keys import Access
from amcl_serve.settings import Settings


@pytest.mark.parametrize("index", [True, False])
def test_every_route_of_the_application_says_it(settings: Settings, index: bool) -> None:
    found = create_app(settings, index=index).routes
    assert len(found) > 25
    for route in found:
        assert isinstance(route, Route), route


def test_the_pages_routes_say_it(settings: Settings) -> None:
    from app.mount import mount

    locked = settings.model_copy(update={"api_key": SecretStr("key")})
    assert all(isinstance(route, Route) for route in mount(create_app(locked, index=False), locked).routes)


def test_a_route_that_says_nothing_is_refused_where_it_is_written() -> None:
    async def endpoint(request: Request) -> Response:
        return Response()

    router = routes(tag="test")
    with pytest.raises(TypeError, match=r"the endpoint of /silent says nothing about itself"):
        router.get("/silent")(endpoint)
    router.get("/said")(about(Access.READ, NotReady, images=True)(endpoint))
    (route,) = router.routes
    assert isinstance(route, Route)
    assert (route.about.access, route.about.errors, route.about.images) == (Access.READ, (NotReady,), True)


def test_a_plain_route_takes_nothing_that_fastapi_would_have_to_give_it() -> None:
    @about(None)
    async def endpoint(request: Request, limit: int = 3) -> Response:
        return Response(str(limit))

    with pytest.raises(TypeError, match=r"the endpoint of /limited is plain: it takes `request` alone"):
        routes(tag="test", plain=True).post("/limited")(endpoint)
