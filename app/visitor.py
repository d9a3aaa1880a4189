"""The page's calls to the API are its visitor's: who was let in to the page needs no key for them."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.http.guards.auth import grant
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.guards.request_id import HEADER
from amcl_serve.http.logs import request_id


def for_visitors(api: ASGIApp) -> ASGIApp:
    """`api` for a client in this process: it may read, and its requests have the id of the visitor's own request."""

    async def granted(scope: Scope, receive: Receive, send: Send) -> None:
        grant(scope, Access.READ)
        if (number := request_id.get()) is not None:
            scope["headers"] = [*scope["headers"], (HEADER.encode(), number.encode())]
        await api(scope, receive, send)

    return granted
