"""Put the page into the server: same process, same port, and only the paths that the page needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.http.answers.problem import Problems
from amcl_serve.http.guards.auth import KeyCheck
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.guards.limits import BodyLimit
from amcl_serve.http.guards.prefix import Prefix
from amcl_serve.http.guards.request_id import RequestIds, level_of
from amcl_serve.http.reading.headers import header
from amcl_serve.http.server import server_in
from amcl_serve.settings import Settings
from app import login
from app.client import Client
from app.examples import ASSETS
from app.page import build, theme
from app.pictures import Uploads
from app.routes import add_routes
from app.template import drop_manifest

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]

_ADDRESS = b"x-gradio-server"  # which the library believes before all else
CSS_FILES, JS_FILE = [ASSETS / f"{name}.css" for name in ("tokens", "components", "tabs")], ASSETS / "page.js"
EXACT = frozenset({"/", "/config", "/theme.css", "/favicon.ico", "/gradio_api/upload", "/gradio_api/upload_progress"})
PREFIXES = ("/assets/", "/static/", "/gradio_api/run/", "/gradio_api/file=")


class PageRoutes:
    """ASGI: the page's own paths go to `page`, all others to `api`, which knows its 404 and 405.

    The page's library also brings routes that fetch URLs, proxy, stream and monitor; those are not let through.
    """

    def __init__(self, api: ASGIApp, page: ASGIApp) -> None:
        self._api = api
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        ours = scope["type"] == "http" and is_page_path(scope["path"])
        await (self._page if ours else self._api)(scope, receive, send)


class OwnAddress:
    """ASGI: tells the page's library where visitors find it, which it would else put together without the root path."""

    def __init__(self, page: ASGIApp) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "http":
            host = header(scope, b"x-forwarded-host").partition(",")[0].strip() or header(scope, b"host")
            said = header(scope, b"x-forwarded-proto").partition(",")[0].strip()
            scheme = said if said in ("http", "https") else scope["scheme"]
            kept = [pair for pair in scope["headers"] if pair[0] not in (b"x-forwarded-host", _ADDRESS)]
            if root := scope.get("root_path"):
                kept.append((_ADDRESS, f"{scheme}://{host}{root}".encode("latin-1")))
            elif host_said := header(scope, b"x-forwarded-host"):
                kept.append((b"x-forwarded-host", host_said.encode("latin-1")))
            scope = {**scope, "headers": kept}
        await self._page(scope, receive, send)


def is_page_path(path: str) -> bool:
    """Whether the path belongs to the page; files are served by their path, never by a URL."""
    return path in EXACT or (path.startswith(PREFIXES) and "://" not in path and "file=http" not in path)


def mount(api: FastAPI, settings: Settings) -> FastAPI:
    """Add the page at `/` of `api`, before its start-up; the API must leave `GET /` free.

    Uploaded files lie in a folder of their own, which goes when the server stops.
    """
    uploads = tempfile.TemporaryDirectory(prefix="amcl-page-")
    os.environ["GRADIO_TEMP_DIR"] = uploads.name  # read when the page is built
    server = server_in(api)
    page = build(Client(api), Uploads(Path(uploads.name)))
    add_routes(api)
    gr.mount_gradio_app(
        api,
        page,
        path="/",
        allowed_paths=[str(ASSETS)],
        favicon_path=str(ASSETS / "favicon.png"),
        show_error=False,
        max_file_size=settings.max_body_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css_paths=CSS_FILES,
        head=f"<script>{JS_FILE.read_text()}</script>",
    )
    drop_manifest()
    page.has_launched = True  # else the library does not check that a file was uploaded before it reads it
    mounted: Any = api.router.routes.pop()
    Problems(server.metrics).install(mounted.app)  # the limits' errors come out of the library's own reading
    limited = BodyLimit(mounted.app, settings, server.in_flight, server.metrics)
    # Whatever the page does, it changes nothing; so any key opens it.
    checked = KeyCheck(limited, server.keys, server.metrics, needed=lambda *_: Access.READ, refuse=login.refuse)
    api.add_middleware(PageRoutes, page=RequestIds(OwnAddress(checked), level_of(settings)))
    api.add_middleware(Prefix, root_path=settings.root_path)  # the page's paths are told without it, too
    if server.keys:
        login.add_login(api, server.keys)
    api.router.lifespan_context = _then(uploads.cleanup, api.router.lifespan_context)
    return api


def _then(last: Callable[[], None], lifespan: Lifespan) -> Lifespan:
    """`lifespan`, with a call of `last` at its end; the process itself may end by a signal, with nothing after it."""

    @asynccontextmanager
    async def extended(api: FastAPI) -> AsyncIterator[Any]:
        try:
            async with lifespan(api) as state:
                yield state
        finally:
            last()

    return extended
