"""create_app: the routes, the guards, the errors and the lifespan put together."""

from __future__ import annotations

import asyncio
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
from amcl_serve.http import openapi
from amcl_serve.http.about import Route
from amcl_serve.http.answers.problem import Problems
from amcl_serve.http.calls import store_threads
from amcl_serve.http.guards import request_id
from amcl_serve.http.guards.auth import KEY_HEADERS, KeyCheck, by_route
from amcl_serve.http.guards.limits import BodyLimit
from amcl_serve.http.guards.prefix import Prefix
from amcl_serve.http.head import HeadAsGet
from amcl_serve.http.metrics import MetricsMiddleware
from amcl_serve.http.plain import PlainRoutes
from amcl_serve.http.routes import (
    aliases,
    analysis,
    calibration,
    cohere,
    collections,
    docs,
    embed,
    evaluations,
    inference,
    lightly,
    models,
    openai,
    operation,
    payloads,
    points,
    search,
    similarity,
    snapshots,
)
from amcl_serve.http.server import Server, server_in
from amcl_serve.jobs.calibration import Calibrator
from amcl_serve.jobs.evaluations import Evaluations
from amcl_serve.jobs.folder import JobFolder
from amcl_serve.settings import Settings
from amcl_serve.vectors.opening import open_store
from amcl_serve.vectors.protocol import VectorStore

_ROUTERS = (
    embed.router,
    similarity.router,
    openai.plain,
    openai.router,
    cohere.router,
    inference.router,
    lightly.plain,
    lightly.router,
    aliases.router,
    collections.router,
    analysis.router,
    payloads.router,
    points.router,
    search.router,
    points.single,
    snapshots.router,
    models.router,
    calibration.router,
    evaluations.router,
    operation.router,
    docs.router,
)


def create_app(settings: Settings, *, registry: Registry | None = None, index: bool = True) -> FastAPI:
    """The application. The keys are read here, all else by its lifespan; StartupError where either cannot go on.

    `registry` replaces the models that `settings` name; `index=False` leaves `/` free for a page.
    """
    app = _App(
        title="amcl-serve",
        version=amcl_serve.__version__,
        summary="Image embeddings, pair similarity and retrieval from one bundle.",
        lifespan=_lifespan,
        openapi_url=None,  # ours is a route like others
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # /metrics and the log are ours
    )
    server = Server(settings, registry)
    app.state.server = server
    for router in (*_ROUTERS, operation.index) if index else _ROUTERS:
        app.router.routes.extend(router.routes)  # in plain sight, which an included router's are not
    problems = Problems(server.metrics)
    app.add_middleware(PlainRoutes, routes=app.routes, problems=problems)
    app.add_middleware(
        BodyLimit,
        settings=settings,
        in_flight=server.in_flight,
        metrics=server.metrics,
        uploads=[route.path_regex for route in app.routes if isinstance(route, Route) and route.about.upload],
    )
    app.add_middleware(KeyCheck, keys=server.keys, metrics=server.metrics, needed=by_route(app.routes))
    problems.install(app)
    app.add_middleware(HeadAsGet)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", *KEY_HEADERS, "content-type", request_id.HEADER],
            expose_headers=openapi.HEADERS,
        )
    app.add_middleware(MetricsMiddleware, metrics=server.metrics)
    app.add_middleware(request_id.RequestIds, level=request_id.level_of(settings))
    app.add_middleware(Prefix, root_path=settings.root_path)  # the outermost
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """FastAPI's schema, with what it cannot know."""
        if self.openapi_schema is None:
            schema = get_openapi(title=self.title, version=self.version, summary=self.summary, routes=self.routes)
            self.openapi_schema = openapi.complete(schema, self.routes, keys=bool(server_in(self).keys))
        return self.openapi_schema


async def _closed(opening: asyncio.Task[VectorStore]) -> None:
    """Close a store, once it is open; that it could not be opened has been said."""
    try:
        store = await opening
    except Exception:
        return
    store.close()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load and check the models, start their engines, open the collections; undo it in reverse at the end."""
    server = server_in(app)
    settings = server.settings
    async with AsyncExitStack() as stack:
        server.store_threads = stack.enter_context(store_threads())
        # Beside the models, which take as long to load as a million vectors do.
        opening = asyncio.create_task(to_thread.run_sync(open_store, settings))
        stack.push_async_callback(_closed, opening)
        if server.registry is None:
            server.registry = Registry(*await to_thread.run_sync(load_models, settings))
        server.store = await opening
        server.loader = Loader(server.registry, settings, watch=server.metrics.watch)
        server.metrics.models.source = server.registry.all
        stack.push_async_callback(server.loader.stop)
        await server.loader.start()
        folder = await to_thread.run_sync(JobFolder, settings.data_dir)
        server.evaluations = jobs = Evaluations(folder, server.registry, settings, server.metrics.evaluation_ended)
        server.metrics.follow(jobs)
        stack.push_async_callback(to_thread.run_sync, jobs.stop, settings.request_deadline)
        jobs.start(loop := asyncio.get_running_loop())
        server.calibrations = Calibrator(server.registry, settings, loop)
        server.ready = True
        try:
            yield
        finally:
            server.ready = False
