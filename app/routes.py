"""The page's own routes beside its library's: scripts that a tab loads when it is opened, and maps of collections."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from amcl_serve.errors import CollectionNotFound, Conflict, DeadlineExceeded, InvalidRequest, NotFound, NotReady
from amcl_serve.http.about import about, routes
from amcl_serve.http.calls import call
from amcl_serve.http.guards.disconnect import unless_gone
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.server import Server, server_of
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.scan import Scan
from app.examples import ASSETS
from app.map import drawing, export

SCRIPTS = {
    "explore.js": ASSETS / "explore.js",
    "evaluate.js": ASSETS / "evaluate.js",
    "duplicates.js": ASSETS / "duplicates.js",
    "resolve.js": ASSETS / "resolve.js",
    "regl-scatterplot.js": ASSETS / "vendor" / "regl-scatterplot.js",
}
KEPT = 4  # maps whose points can be coloured anew

Value = TypeVar("Value")

router = routes("/page", tag="page")


@router.get("/scripts/{name}", include_in_schema=False)
@about(Access.READ, NotFound)
async def script(name: str) -> Response:
    """One of the page's scripts."""
    if name not in SCRIPTS:
        raise NotFound(f"the page has no script {name!r}")
    return FileResponse(SCRIPTS[name], media_type="text/javascript", headers={"cache-control": "no-cache"})


@router.get("/map/{name}", include_in_schema=False)
@about(Access.READ, NotReady, CollectionNotFound, DeadlineExceeded)
async def draw(request: Request, name: str) -> Response:
    """The map of a collection, in the bytes that `app.map.drawing` describes."""
    server = server_of(request)
    budget = Budget(server.settings.analysis_deadline)

    def work() -> drawing.Map:
        budget.start()
        scan: Scan = server.collections.scan(name, None, budget=budget)
        return drawing.draw(scan, budget=budget)

    drawn = await _turn(request, server, budget, work)
    if drawn.token:
        maps: OrderedDict[str, drawing.Map] = request.app.state.maps
        maps[drawn.token] = drawn
        maps.move_to_end(drawn.token)
        while len(maps) > KEPT:
            maps.popitem(last=False)
    return Response(drawn.body, media_type="application/octet-stream", headers={"cache-control": "no-store"})


@router.get("/colours", include_in_schema=False)
@about(Access.READ, NotReady, InvalidRequest, Conflict, DeadlineExceeded)
async def colours(request: Request, token: str, key: str) -> Response:
    """What the payloads of a map's points have at a key, as bytes."""
    server = server_of(request)
    drawn = request.app.state.maps.get(token)
    if drawn is None:
        raise Conflict("this map is no longer kept; draw it again")
    budget = Budget(server.settings.search_deadline)

    def work() -> bytes:
        budget.start()
        return drawing.colours(drawn, key, budget=budget)

    return Response(await _turn(request, server, budget, work), media_type="application/octet-stream")


@router.get("/export", include_in_schema=False)
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, Conflict, DeadlineExceeded)
async def export_map(request: Request, token: str) -> Response:
    """The points of a map as Parquet, which goes to a file before it is sent."""
    server = server_of(request)
    drawn = request.app.state.maps.get(token)
    if drawn is None:
        raise Conflict("this map is no longer kept; draw it again")
    if find_spec("pyarrow") is None:
        raise InvalidRequest("writing Parquet takes pyarrow on the server: pip install 'amcl-serve[parquet]'")
    budget = Budget(server.settings.analysis_deadline)
    name = drawn.scan.info.name
    folder = tempfile.TemporaryDirectory(prefix="amcl-export-")
    path = Path(folder.name) / "map.parquet"

    def work() -> None:
        budget.start()
        thumbnail = partial(server.collections.thumbnail, name) if drawn.scan.info.thumbnails else None
        export.write(drawn, path, thumbnail, budget=budget)

    try:
        await _turn(request, server, budget, work)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type="application/vnd.apache.parquet",
        filename=f"{name}.parquet",
        headers={"cache-control": "no-store"},
        background=BackgroundTask(folder.cleanup),
    )


def add_routes(api: FastAPI) -> None:
    """Add them to an application, which keeps the last maps."""
    api.state.maps = OrderedDict()
    api.router.routes.extend(router.routes)


async def _turn(request: Request, server: Server, budget: Budget, work: Callable[[], Value]) -> Value:
    """What `work` gives in a thread of the store's: one such at a time, as with all that looks at every point."""
    try:
        async with server.analysing:
            return await unless_gone(request.receive, call(server, work))
    except BaseException:
        budget.cancel()
        raise
