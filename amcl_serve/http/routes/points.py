"""/collections/{name}/points: written, deleted, read. What is answered is durable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import Request
from pydantic import TypeAdapter
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import (
    CollectionMismatch,
    CollectionNotFound,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    NotReady,
    PointNotFound,
    StorageFull,
    TooManyItems,
)
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import (
    Started,
    Wanted,
    check_numbers,
    enveloped,
    enveloped_after_images,
    record,
)
from amcl_serve.http.calls import call, call_within
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.reading.collection_images import Place, embeddings, model_for, reference, require_heads
from amcl_serve.http.reading.targets import Picture, asked_for, order_of, picture
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.base import Items
from amcl_serve.http.shapes.collections import Envelope
from amcl_serve.http.shapes.points import (
    POINTS_BODY,
    Count,
    CountRequest,
    DeletePayloadRequest,
    DeleteRequest,
    FilePoint,
    ImageBody,
    Operation,
    PointRecord,
    RetrieveRequest,
    ScrollPage,
    ScrollRequest,
    SetPayloadRequest,
    UpsertRequest,
)
from amcl_serve.model.thumbnails import MEDIA_TYPE
from amcl_serve.settings import Settings
from amcl_serve.vectors.filters import compile_filter
from amcl_serve.vectors.types import MAX_LIMIT, Chosen, Point, PointId
from amcl_serve.vectors.values import MAX_POINTS, parse_point_id

router = routes("/collections", tag="collections")

FILE_POINTS = TypeAdapter[list[FilePoint]](Items[FilePoint])


@dataclass(frozen=True)
class NewPoint:
    """A point as it came: its vector's components, or its image's bytes, or why there are none."""

    id: PointId
    payload: dict[str, Any]
    source: list[float] | Picture


@router.put(
    "/{name}/points",
    summary="Write points",
    response_model=Envelope[Operation],
    openapi_extra={"requestBody": POINTS_BODY},
)
@about(
    Access.WRITE,
    *(InvalidRequest, CollectionNotFound, CollectionMismatch, ModelNotFound, StorageFull),
    images=True,
    body=UpsertRequest,
)
async def upsert(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """Write all points or none; one with a stored id replaces that. The error of bad images names each by its index."""
    server = server_of(request)
    store = server.collections
    points = await _read(request, server.settings)
    seen = [point.source for point in points if isinstance(point.source, Picture)]
    if not seen:
        stored = [_stored(point, iter(())) for point in points]
        return enveloped(operation(await call(server, store.upsert, name, stored)), started)
    asked = asked_for(wanted, seen)
    images, places = [each.image for each in seen], [each.place for each in seen]
    while True:
        info = await call(server, store.describe, name)
        async with model_for(server, info, asked) as model:
            if info.heads:
                require_heads(model, f"collection {info.name!r} keeps heads")
            rows, timing = await embeddings(model, images, places, request.receive, thumbnails=info.thumbnails)
            row = iter(rows)
            stored = [_stored(point, row) for point in points]
            try:
                number = await call(server, store.upsert, name, stored, model=reference(model))
            except CollectionMismatch:
                if (await call(server, store.describe, name)).name == info.name:
                    raise
                continue  # the alias has come to stand for another collection
        return enveloped_after_images(operation(number), started, timing, server.metrics)


@router.post("/{name}/points/delete", summary="Delete points", response_model=Envelope[Operation])
@about(Access.WRITE, NotReady, InvalidRequest, CollectionNotFound, TooManyItems, StorageFull, body=DeleteRequest)
async def delete(request: Request, name: str, started: Started) -> Response:
    """Delete by ids, or all that a filter matches; ids that are not there are no error, a filter of nothing is."""
    server = server_of(request)
    body = await bodies.json_only(request, DeleteRequest)
    await check_choice(body)
    chosen = Chosen(body.points or [], body.filter)
    number = await call_within(server, request.receive, server.collections.delete, name, chosen)
    return enveloped(operation(number), started)


@router.post("/{name}/points/scroll", summary="Page through points", response_model=Envelope[ScrollPage])
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, body=ScrollRequest)
async def scroll(request: Request, name: str, started: Started) -> Response:
    """Points in the order of their ids, integers before UUIDs."""
    server = server_of(request)
    store = server.collections
    body = await bodies.json_only(request, ScrollRequest)
    if body.with_vector:
        check_numbers(body.limit, await call(server, store.size, name))
    if body.order_by is not None:
        order = order_of(body.order_by)
        listed = await call_within(
            server, request.receive, store.scroll_by, name, order, limit=body.limit, where=body.filter
        )
        ordered = [
            record(each, payload=body.with_payload, vector=body.with_vector) | {"order_value": value}
            for each, value in listed
        ]
        return enveloped({"points": ordered, "next_page_offset": None}, started)
    page = await call_within(
        server, request.receive, store.scroll, name, limit=body.limit, start=body.offset, where=body.filter
    )
    points = [record(found, payload=body.with_payload, vector=body.with_vector) for found in page.records]
    return enveloped({"points": points, "next_page_offset": page.next_offset}, started)


@router.post("/{name}/points", summary="Points by their ids", response_model=Envelope[list[PointRecord]])
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, TooManyItems, body=RetrieveRequest)
async def retrieve(request: Request, name: str, started: Started) -> Response:
    """Those that there are, in the order of their ids."""
    server = server_of(request)
    body = await bodies.json_only(request, RetrieveRequest)
    bodies.check_count(len(body.ids), MAX_LIMIT, "ids")
    if body.with_vector:
        check_numbers(len(body.ids), await call(server, server.collections.size, name))
    found = await call(server, server.collections.retrieve, name, body.ids)
    return enveloped([record(each, payload=body.with_payload, vector=body.with_vector) for each in found], started)


@router.post("/{name}/points/count", summary="Count points", response_model=Envelope[Count])
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, body=CountRequest)
async def count(request: Request, name: str, started: Started) -> Response:
    """Number of points that the filter matches, of all without one."""
    body = await bodies.json_only(request, CountRequest)
    server = server_of(request)
    count = await call_within(server, request.receive, server.collections.count, name, body.filter)
    return enveloped({"count": count}, started)


# Included after the routes of a search, whose paths it fits too, for their `Allow`.
single = routes("/collections", tag="collections")


@single.get("/{name}/points/{point}", summary="One point", response_model=Envelope[PointRecord])
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, PointNotFound)
async def get(request: Request, name: str, point: str, started: Started) -> Response:
    """A point with payload and vector."""
    server = server_of(request)
    found = await call(server, server.collections.get, name, _id(point))
    return enveloped(record(found, payload=True, vector=True), started)


@single.get(
    "/{name}/points/{point}/thumbnail",
    summary="The thumbnail of a point",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}},
)
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound, PointNotFound, NotFound)
async def thumbnail(request: Request, name: str, point: str) -> Response:
    """What is kept of the image that the point was written by, in a collection that keeps thumbnails."""
    server = server_of(request)
    found = await call(server, server.collections.thumbnail, name, _id(point))
    if found is None:
        raise NotFound(
            f"point {point!r} has no thumbnail: thumbnails are kept of images that are written to a collection "
            "created with `thumbnails: true`"
        )
    return Response(found, media_type=MEDIA_TYPE)


def _id(text: str) -> PointId:
    """An id in a path."""
    return parse_point_id(int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else text)


async def _read(request: Request, settings: Settings) -> list[NewPoint]:
    """The points of an upsert: JSON `points`, or multipart `files` with a JSON field `points` in the same order."""
    kind, most = bodies.media_type(request.scope), settings.max_items
    if kind == bodies.JSON:
        given, _ = await bodies.read_json(request.receive, UpsertRequest)
        _check_points(len(given.points if given.batch is None else given.batch.ids))
        points = await to_thread.run_sync(_new_points, given)
        bodies.check_count(sum(isinstance(each.source, Picture) for each in points), most, "points with images")
        return points
    if kind != bodies.MULTIPART:
        raise bodies.unsupported(kind, f"points come as {bodies.JSON} or {bodies.MULTIPART}")
    limit = f"at most {most} images a request"
    size = settings.max_body_bytes
    form = await bodies.read_form(request, ("files",), most, limit, max_field_bytes=size)
    files, fields = form.files["files"], form.fields
    if set(fields) != {"points"}:
        raise InvalidRequest(
            'the form has `files` and one text field `points`: JSON like [{"id": 1, "payload": {}}, …]'
        )
    text = fields["points"][-1].encode()
    bodies.check_values(text, "points")
    found = await to_thread.run_sync(bodies.validated, FILE_POINTS.validate_json, text)
    if len(found) != len(files):
        raise InvalidRequest(f"points: {len(found)} for {len(files)} files; one each, in the same order")
    _check_points(len(found))
    return [
        NewPoint(point.id, point.payload or {}, Picture(data, Place("files", index, f"files[{index}]")))
        for index, (point, data) in enumerate(zip(found, files, strict=True))
    ]


def _new_points(given: UpsertRequest) -> list[NewPoint]:
    if given.batch is not None:
        payloads = given.batch.payloads or [None] * len(given.batch.ids)
        columns = zip(given.batch.ids, given.batch.vectors, payloads, strict=True)
        return [
            NewPoint(identity, payload or {}, _source(vector, Place("batch", index, f"batch.vectors[{index}].image")))
            for index, (identity, vector, payload) in enumerate(columns)
        ]
    points = []
    for index, point in enumerate(given.points):
        source = point.vector if point.image is None else ImageBody(image=point.image, model=None, options=None)
        assert source is not None
        words = f"points[{index}].image" if point.vector is None else f"points[{index}].vector.image"
        points.append(NewPoint(point.id, point.payload or {}, _source(source, Place("points", index, words))))
    return points


def _stored(point: NewPoint, rows: Iterator[Embedded]) -> Point:
    """A point as a store has it; `rows` are the embeddings of the images."""
    if not isinstance(point.source, Picture):
        return Point(point.id, point.source, point.payload)
    found = next(rows)
    return Point(point.id, found.features, point.payload, found.thumbnail, found.heads)


def _source(given: list[float] | ImageBody, place: Place) -> list[float] | Picture:
    return picture(given, place) if isinstance(given, ImageBody) else given


async def check_choice(given: DeleteRequest | SetPayloadRequest | DeletePayloadRequest) -> None:
    """InvalidRequest for a filter that would match every point, TooManyItems for too many ids."""
    # A condition of any kind has parameters.
    if given.filter is not None and not (await to_thread.run_sync(compile_filter, given.filter)).parameters:
        raise InvalidRequest("filter: it has no condition and would match every point; remove the collection for that")
    if given.points is not None:
        _check_points(len(given.points))


def _check_points(number: int) -> None:
    bodies.check_count(number, MAX_POINTS, "points")
    if number == 0:
        raise InvalidRequest("points: at least one")


def operation(number: int) -> dict[str, Any]:
    """The result of a write."""
    return {"operation_id": number, "status": "completed"}
