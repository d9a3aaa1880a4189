"""/collections/{name}/duplicates, …/outliers, …/sample: what a collection's pictures are to each other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from amcl_serve.errors import CollectionMismatch, CollectionNotFound, InvalidRequest, NotReady
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers import analysis as told
from amcl_serve.http.answers.envelope import Started
from amcl_serve.http.answers.stream import NDJSON, Event, Lines, Ndjson
from amcl_serve.http.calls import call
from amcl_serve.http.guards.disconnect import unless_gone
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.reading.cuts import Cut, cut_at
from amcl_serve.http.server import Server, server_of
from amcl_serve.http.shapes.analysis import (
    DuplicatesLine,
    DuplicatesRequest,
    OutliersLine,
    OutliersRequest,
    SampleLine,
    SampleRequest,
)
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.filters import json_path
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import CollectionInfo, Filter

router = routes("/collections", tag="collections")


def _lines(shape: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What /openapi.json says of an answer in lines of this shape."""
    return {200: {"model": shape, "content": {NDJSON: {}}, "description": "one JSON object a line"}}


@router.post("/{name}/duplicates", summary="Near duplicates", response_class=Ndjson, responses=_lines(DuplicatesLine))
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, CollectionMismatch, body=DuplicatesRequest)
async def duplicates(request: Request, name: str, started: Started) -> Response:
    """Groups of points that are near duplicates of each other, or of equal content by its hash; with `against`, the
    points that are near to points of another collection. Each pair is looked at.
    """
    server = server_of(request)
    body = await bodies.json_only(request, DuplicatesRequest)
    budget = Budget(server.settings.analysis_deadline)
    scan = await _scan(request, budget, name, body.filter)
    if body.hash is not None:
        json_path(body.hash, "hash")
    cut = None if body.hash is not None else _cut(body, scan.info, server)
    if body.against is None:
        work = partial(told.groups, server.analyses, scan, cut, body.hash, body.filter is None)
    else:
        other = await _scan(request, budget, body.against, None)
        _check_pair(scan, other, by_cosine=cut is not None)
        work = partial(told.leaks, server.analyses, scan, other, cut, body.hash)
    return Lines(request, work(body.with_payload), budget, started)


@router.post("/{name}/outliers", summary="Outliers", response_class=Ndjson, responses=_lines(OutliersLine))
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, body=OutliersRequest)
async def outliers(request: Request, name: str, started: Started) -> Response:
    """The points with the lowest mean cosine to their nearest neighbours, lowest first. Each pair is looked at."""
    server = server_of(request)
    body = await bodies.json_only(request, OutliersRequest)
    budget = Budget(server.settings.analysis_deadline)
    scan = await _scan(request, budget, name, body.filter)
    events: Iterator[Event] = told.outliers(server.analyses, scan, body.neighbours, body.limit, body.with_payload)
    return Lines(request, events, budget, started)


@router.post("/{name}/sample", summary="A diverse subset", response_class=Ndjson, responses=_lines(SampleLine))
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, body=SampleRequest)
async def sample(request: Request, name: str, started: Started) -> Response:
    """Points that stand for all (greedy k-centre): each is the one farthest from those before it."""
    server = server_of(request)
    body = await bodies.json_only(request, SampleRequest)
    budget = Budget(server.settings.analysis_deadline)
    scan = await _scan(request, budget, name, body.filter)
    return Lines(request, told.sample(server.analyses, scan, body.limit, body.with_payload), budget, started)


async def _scan(request: Request, budget: Budget, name: str, where: Filter | None) -> Scan:
    server = server_of(request)
    budget.start()
    scan: Scan = await unless_gone(request.receive, call(server, server.collections.scan, name, where, budget=budget))
    return scan


def _cut(body: DuplicatesRequest, collection: CollectionInfo, server: Server) -> Cut:
    if body.cosine is not None:
        return Cut(body.cosine)
    assert body.probability is not None
    return cut_at(body.probability, collection, server.models)


def _check_pair(scan: Scan, other: Scan, *, by_cosine: bool) -> None:
    """Raise where the points of two collections cannot be compared."""
    one, two = scan.info, other.info
    if scan.key == other.key:
        raise InvalidRequest("against: another collection; its own duplicates are found without it")
    if not by_cosine:
        return
    if one.size != two.size:
        raise CollectionMismatch(f"{one.name!r} holds vectors of size {one.size}, {two.name!r} of size {two.size}")
    if one.model is not None and two.model is not None and one.model.digest != two.model.digest:
        raise CollectionMismatch(
            f"{one.name!r} holds images embedded by {one.model.name} ({one.model.digest}), {two.name!r} by "
            f"{two.model.name} ({two.model.digest}): cosines between them mean nothing; index both by one model, or "
            "cut by hash"
        )
