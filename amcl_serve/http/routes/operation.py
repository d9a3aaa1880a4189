"""/livez, /readyz, /healthz, /metrics: for whatever restarts the server, sends it traffic, or watches it."""

from __future__ import annotations

from collections.abc import Iterable

from anyio import to_thread
from fastapi import Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

import amcl_serve
from amcl_serve.errors import NotReady
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.about import about, routes
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.operation import Health, Pointer

router = routes(tag="operation")
index = routes(tag="operation")  # of a server without a page


@router.get("/livez", summary="Whether the process answers")
@about(None)
async def livez() -> Health:
    """200 as long as the process answers; restart it when this fails."""
    return Health(status="ok")


@router.get("/readyz", summary="Whether requests can be answered")
@router.get("/healthz", summary="The same as /readyz")
@about(None, NotReady)
async def readyz(request: Request) -> Health:
    """200 when every model's engine runs and the collections can be read and written; else 503: send no traffic."""
    server = server_of(request)
    check_engines(server.models.all())
    await to_thread.run_sync(server.collections.check)  # not behind the searches that wait for the store's threads
    return Health(status="ok")


def check_engines(models: Iterable[LoadedModel]) -> None:
    """NotReady where one does not run."""
    for model in models:
        if not model.engine.healthy:
            raise NotReady(f"the engine of model {model.name} does not run")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
@about(Access.READ)
async def metrics(request: Request) -> Response:
    """Counters and histograms since the server started, in Prometheus's text format."""
    return Response(generate_latest(server_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@index.get("/", summary="Where to read on")
@about(Access.READ)
async def _pointer() -> Pointer:
    """Name, version and the way to the documentation."""
    return Pointer(name="amcl-serve", version=amcl_serve.__version__, docs="/docs")
