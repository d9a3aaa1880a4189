"""What a route says of itself where it is written: who may call it, its errors, whether images come with it.

The keys' guard and /openapi.json read it, so that neither has a table of paths of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from amcl_serve.errors import AmclError
from amcl_serve.http.guards.keys import Access

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True)
class About:
    """`access` is what a key must allow, None where no key is asked for; `errors` are beside those of every route.

    `body` is the shape of a body in JSON that the endpoint reads itself; `upload`: a form may bring an archive, which
    goes to the disk as it comes.
    """

    access: Access | None
    errors: tuple[type[AmclError], ...]
    images: bool
    body: type[BaseModel] | None
    upload: bool = False


def about(
    access: Access | None,
    *errors: type[AmclError],
    images: bool = False,
    body: type[BaseModel] | None = None,
    upload: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Say it of an endpoint; stands below the router's decorator.

    What follows from a route's shape need not be said: the errors of bodies, of parameters, of keys, and of images.
    """

    def say(endpoint: Endpoint) -> Endpoint:
        endpoint.about = About(access, errors, images, body, upload)  # type: ignore[attr-defined]  # functions take attributes
        return endpoint

    return say


class Route(APIRoute):
    """A route of FastAPI whose endpoint says what it is; TypeError, on import, for one that does not."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        said = getattr(endpoint, "about", None)
        if not isinstance(said, About):
            raise TypeError(f"the endpoint of {path} says nothing about itself: put @about(...) above it")
        self.about = said
        super().__init__(path, endpoint, **options)


class PlainRoute(Route):
    """A route whose endpoint takes the request and gives the response, with none of FastAPI's parameters between.

    Those cost more than all else of a small request. TypeError for an endpoint that asks for more than the request,
    which it would not get.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if list(inspect.signature(endpoint).parameters) != ["request"]:
            raise TypeError(f"the endpoint of {path} is plain: it takes `request` alone")
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The endpoint itself."""
        handler: Callable[[Request], Any] = self.endpoint
        return handler


def routes(prefix: str = "", *, tag: str, plain: bool = False) -> APIRouter:
    """A router for the endpoints of a file."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=PlainRoute if plain else Route,
        responses={"default": {}},  # each operation's errors are in amcl_serve.http.openapi, not FastAPI's own 422
    )
