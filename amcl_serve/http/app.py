"""create_app: the routes, the limits, the errors and the lifespan put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

import amcl_serve
from amcl_serve.hosting.lifecycle import Loader
from amcl_serve.hosting.opening import load_models
from amcl_serve.hosting.registry import Registry
from amcl_serve.http import metrics, openapi, problem
from amcl_serve.http.direct import Direct
from amcl_serve.http.guards import request_id
from amcl_serve.http.guards.auth import KEY_HEADERS, KeyCheck
from amcl_serve.http.guards.keys import Keys
from amcl_serve.http.guards.limits import BodyLimit, InFlight
from amcl_serve.http.routes import collections, docs, embed, health, models, openai, similarity
from amcl_serve.http.shapes.schemas import Pointer
from amcl_serve.settings import Settings
from amcl_serve.vectors.store import SqliteStore


def create_app(settings: Settings, *, registry: Registry | None = None, index: bool = True) -> FastAPI:
    """The application. The keys are read here, all else by its lifespan; StartupError where either cannot go on.

    `registry` replaces the models that `settings` name; `index=False` leaves `/` free for a page.
    """
    app = _App(
        title="amcl-serve",
        version=amcl_serve.__version__,
        summary="Image embeddings, pair similarity and retrieval from one bundle.",
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # /metrics and the log are ours
        responses={"default": {}},  # each operation's errors are in amcl_serve.http.openapi, not FastAPI's own 422
    )
    app.state.settings = settings
    app.state.registry = registry
    app.state.collections = None
    app.state.metrics = metrics.Metrics()
    app.state.in_flight = InFlight(settings.max_queue_items, settings.max_requests)
    app.state.keys = Keys.load(settings)
    app.state.ready = False
    app.add_middleware(Direct, routers=(embed.router, similarity.router, openai.router))
    app.add_middleware(BodyLimit, settings=settings, in_flight=app.state.in_flight, metrics=app.state.metrics)
    app.add_middleware(KeyCheck, keys=app.state.keys, metrics=app.state.metrics)
    problem.install(app)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", *KEY_HEADERS, "content-type", request_id.HEADER],
            expose_headers=openapi.HEADERS,
        )
    app.add_middleware(metrics.MetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(request_id.RequestIds, level=request_id.level_of(settings))  # the outermost
    for noun in (embed, similarity, openai, collections, models, health, metrics, docs):
        app.include_router(noun.router)
    if index:
        app.add_api_route("/", _pointer, summary="Where to read on", tags=["operation"])
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """FastAPI's schema, with what it cannot know."""
        if self.openapi_schema is None:
            schema = get_openapi(title=self.title, version=self.version, summary=self.summary, routes=self.routes)
            self.openapi_schema = openapi.complete(schema, keys=bool(self.state.keys))
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load and check the models, start their engines, open the collections; undo it in reverse at the end."""
    settings: Settings = app.state.settings
    if app.state.registry is None:
        app.state.registry = Registry(*await to_thread.run_sync(load_models, settings))
    async with AsyncExitStack() as stack:
        store = await to_thread.run_sync(SqliteStore, settings.data_dir)
        stack.callback(store.close)
        app.state.collections = store
        app.state.loader = loader = Loader(app.state.registry, settings, watch=app.state.metrics.watch)
        app.state.metrics.models.source = app.state.registry.all
        stack.push_async_callback(loader.stop)
        await loader.start()
        app.state.ready = True
        try:
            yield
        finally:
            app.state.ready = False


async def _pointer() -> Pointer:
    """Name, version and the way to the documentation."""
    return Pointer(name="amcl-serve", version=amcl_serve.__version__, docs="/docs")
