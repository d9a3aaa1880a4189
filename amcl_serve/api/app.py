"""create_app: the routes, the limits, the errors and the lifespan put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI

import amcl_serve
from amcl_serve.api import collections, docs, embed, health, metrics, models, openapi, problem, similarity
from amcl_serve.api.collection_shapes import QueryRequest, UpsertRequest
from amcl_serve.api.limits import BodyLimit, InFlight
from amcl_serve.api.schemas import EmbedRequest, Pointer, Problem, SimilarityRequest
from amcl_serve.collections.store import SqliteStore
from amcl_serve.registry import Registry, load_model
from amcl_serve.settings import Settings

log = logging.getLogger("amcl_serve")

# Shapes that routes name by reference, because FastAPI sees the raw request only.
_NAMED = (Problem, EmbedRequest, SimilarityRequest, UpsertRequest, QueryRequest)


def create_app(settings: Settings, *, registry: Registry | None = None, index: bool = True) -> FastAPI:
    """The application. Nothing is loaded before its lifespan starts, which raises StartupError where it cannot go on.

    `registry` replaces the model that `settings` name; `index=False` leaves `/` free for a page.
    """
    app = _App(
        title="amcl-serve",
        version=amcl_serve.__version__,
        summary="Image embeddings, pair similarity and retrieval from one bundle.",
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
        responses={"default": openapi.DEFAULT},
    )
    app.state.settings = settings
    app.state.registry = registry
    app.state.collections = None
    app.state.metrics = metrics.Metrics()
    app.state.in_flight = InFlight()
    app.state.ready = False
    problem.install(app)
    app.add_middleware(BodyLimit, settings=settings, in_flight=app.state.in_flight, metrics=app.state.metrics)
    app.add_middleware(metrics.MetricsMiddleware, metrics=app.state.metrics)  # the outermost
    for noun in (embed, similarity, collections, models, health, metrics, docs):
        app.include_router(noun.router)
    if index:
        app.add_api_route("/", _pointer, summary="Where to read on", tags=["operation"])
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The schema, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.openapi_of(self, _NAMED)
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load and check the model, start its engine, open the collections; undo it in reverse once requests have ended."""
    settings: Settings = app.state.settings
    if app.state.registry is None:
        app.state.registry = Registry(await to_thread.run_sync(load_model, settings))
    async with AsyncExitStack() as stack:
        store = await to_thread.run_sync(SqliteStore, settings.data_dir)
        stack.callback(store.close)
        app.state.collections = store
        for model in app.state.registry.all():
            await to_thread.run_sync(model.encoder.verify_probe)
            stack.push_async_callback(model.engine.stop)
            await model.engine.start()
            app.state.metrics.watch(model)
            log.info(
                "model %s %s: %s on %s",
                model.name,
                model.bundle.digest,
                model.encoder.precision,
                model.encoder.provider,
            )
        app.state.ready = True
        try:
            yield
        finally:
            app.state.ready = False


async def _pointer() -> Pointer:
    """Name, version and the way to the documentation."""
    return Pointer(name="amcl-serve", version=amcl_serve.__version__, docs="/docs")
