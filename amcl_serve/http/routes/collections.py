"""/collections: points in, nearest points out. Shapes and names are Qdrant's; what is answered is durable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded, Timing
from amcl_serve.errors import AmclError, InvalidRequest, NotReady
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.input import Image
from amcl_serve.http.output import timed_json
from amcl_serve.http.points_input import NewPoint, Search, check_count, read_points, read_query, to_search
from amcl_serve.http.routes.embed import embed_images
from amcl_serve.http.shapes import collections as shapes
from amcl_serve.http.shapes.schemas import Name
from amcl_serve.http.state import metrics_of, model_of, registry_of, settings_of
from amcl_serve.vectors.filters import compile_filter
from amcl_serve.vectors.types import MAX_REACH, Hit, ModelRef, Point, Record, VectorStore
from amcl_serve.vectors.types import Query as StoreQuery
from amcl_serve.vectors.values import parse_point_id

router = APIRouter(prefix="/collections", tags=["collections"])

Value = TypeVar("Value")


async def _now() -> float:
    return time.perf_counter()


Started = Annotated[float, Depends(_now)]
Wanted = Annotated[Name | None, Query(alias="model", description="of images; by default the collection's own")]


@router.get("", summary="The collections", response_model=shapes.Envelope[shapes.CollectionList])
async def collections(request: Request, started: Started) -> Response:
    """Their names, sorted."""
    names = await _do(_store(request).names)
    return _answer({"collections": [{"name": name} for name in names]}, started)


@router.put("/{name}", summary="Create a collection", response_model=shapes.Envelope[bool])
async def create(
    request: Request, name: str, body: shapes.CreateRequest, started: Started, wanted: Wanted = None
) -> Response:
    """Make an empty collection; without a size, its vectors are as long as the model's features."""
    size = body.vectors.size or model_of(request, wanted).bundle.card.feature_dim
    await _do(_store(request).create, name, size, body.vectors.distance)
    return _answer(True, started)


@router.get("/{name}", summary="One collection", response_model=shapes.Envelope[shapes.CollectionDetail])
async def describe(request: Request, name: str, started: Started) -> Response:
    """Size, distance, number of points, and the model that embedded its images."""
    info = await _do(_store(request).describe, name)
    result = {
        "status": "green",
        "points_count": info.points,
        "config": {"params": {"vectors": {"size": info.size, "distance": info.distance}}},
        "model": None if info.model is None else {"name": info.model.name, "digest": info.model.digest},
    }
    return _answer(result, started)


@router.delete("/{name}", summary="Remove a collection", response_model=shapes.Envelope[bool])
async def drop(request: Request, name: str, started: Started) -> Response:
    """Remove it with its points; the result is false if there was none."""
    return _answer(await _do(_store(request).drop, name), started)


@router.put(
    "/{name}/points",
    summary="Write points",
    response_model=shapes.Envelope[shapes.Operation],
    openapi_extra={"requestBody": shapes.POINTS_BODY},
)
async def upsert(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """Write all points or none; one with a stored id replaces that. The error of bad images names each by its index."""
    store, settings = _store(request), settings_of(request)
    points = await read_points(request, max_items=settings.max_items, max_bytes=settings.max_body_bytes)
    check_count(len(points), settings.max_items, "points")
    pictured = [point for point in points if not isinstance(point.source, list)]
    if not pictured:
        return _answer(_operation(await _do(store.upsert, name, [_point(point) for point in points])), started)
    model = await _model(request, name, wanted)
    vectors, timing = await _embed(request, model, [(point.source, point.place) for point in pictured])
    rows = iter(vectors)
    stored = [_point(point, None if isinstance(point.source, list) else next(rows)) for point in points]
    operation = await _do(partial(store.upsert, name, stored, model=_reference(model)))
    return _answer(_operation(operation), started, request, timing)


@router.post(
    "/{name}/points/delete",
    summary="Delete points",
    response_model=shapes.Envelope[shapes.Operation],
)
async def delete(request: Request, name: str, body: shapes.DeleteRequest, started: Started) -> Response:
    """Delete by ids, or all that a filter matches; ids that are not there are no error, a filter of nothing is."""
    ids = body.points or []
    if body.filter is not None and not compile_filter(body.filter).parameters:  # a condition of any kind has some
        raise InvalidRequest("filter: it has no condition and would match every point; remove the collection for that")
    if body.points is not None:
        check_count(len(ids), settings_of(request).max_items, "points")
    operation = await _do(partial(_store(request).delete, name, ids=ids, where=body.filter))
    return _answer(_operation(operation), started)


@router.post("/{name}/points/scroll", summary="Page through points", response_model=shapes.Envelope[shapes.ScrollPage])
async def scroll(request: Request, name: str, body: shapes.ScrollRequest, started: Started) -> Response:
    """Points in the order of their ids, integers before UUIDs."""
    page = await _do(partial(_store(request).scroll, name, limit=body.limit, start=body.offset, where=body.filter))
    points = [_record(record, body.with_payload, body.with_vector) for record in page.records]
    return _answer({"points": points, "next_page_offset": page.next_offset}, started)


@router.post("/{name}/points/count", summary="Count points", response_model=shapes.Envelope[shapes.Count])
async def count(request: Request, name: str, body: shapes.CountRequest, started: Started) -> Response:
    """Number of points that the filter matches, of all without one."""
    return _answer({"count": await _do(_store(request).count, name, body.filter)}, started)


@router.post(
    "/{name}/points/query",
    summary="Search",
    response_model=shapes.Envelope[shapes.QueryResult],
    openapi_extra={"requestBody": shapes.QUERY_BODY},
)
async def query(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """The nearest points to a vector, to a stored point (which is left out), or to an image; ties go by id."""
    search = await read_query(request, max_bytes=settings_of(request).max_body_bytes)
    (result,), timing = await _search(request, name, [search], ["query"], wanted)
    return _answer(result, started, request, timing)


@router.post(
    "/{name}/points/query/batch",
    summary="Search many times",
    response_model=shapes.Envelope[list[shapes.QueryResult]],
)
async def query_batch(
    request: Request, name: str, body: shapes.QueryBatchRequest, started: Started, wanted: Wanted = None
) -> Response:
    """One result a search, in order; an error of one of them, which it names, refuses the request."""
    check_count(len(body.searches), settings_of(request).max_items, "searches")
    if sum(search.limit for search in body.searches) > MAX_REACH:
        raise InvalidRequest(f"searches: their limits add up to more than {MAX_REACH}")
    searches = await _do(lambda: [to_search(search) for search in body.searches])
    places = [f"searches[{i}].query" for i in range(len(searches))]
    results, timing = await _search(request, name, searches, places, wanted)
    return _answer(results, started, request, timing)


@router.get("/{name}/points/{point}", summary="One point", response_model=shapes.Envelope[shapes.PointRecord])
async def get(request: Request, name: str, point: str, started: Started) -> Response:
    """A point with payload and vector."""  # after the routes whose paths it fits too, for their `Allow`
    number = point.isascii() and point.isdecimal() and len(point) <= 20
    record = await _do(_store(request).get, name, parse_point_id(int(point) if number else point))
    return _answer(_record(record, True, True), started)


async def _search(
    request: Request, name: str, searches: Sequence[Search], places: Sequence[str], wanted: str | None
) -> tuple[list[dict[str, Any]], Timing | None]:
    targets: list[Any] = [search.target for search in searches]
    pictured = [i for i, target in enumerate(targets) if isinstance(target, bytes | AmclError)]
    timing = None
    if pictured:
        model = await _model(request, name, wanted)
        vectors, timing = await _embed(request, model, [(targets[i], places[i]) for i in pictured])
        for i, vector in zip(pictured, vectors, strict=True):
            targets[i] = vector
    return await _do(_run_searches, _store(request), name, searches, targets, places), timing


def _run_searches(
    store: VectorStore, name: str, searches: Sequence[Search], targets: Sequence[Any], places: Sequence[str]
) -> list[dict[str, Any]]:
    results = []
    for search, target, place in zip(searches, targets, places, strict=True):
        options = search.options
        wanted = StoreQuery(target, options.limit, options.offset, options.score_threshold, options.filter)
        try:
            hits = store.query(name, wanted)
        except InvalidRequest as error:
            if len(places) == 1:
                raise
            raise InvalidRequest(f"{place.removesuffix('.query')}: {error.detail}") from None
        results.append({"points": [_hit(hit, options) for hit in hits]})
    return results


async def _model(request: Request, name: str, wanted: str | None) -> LoadedModel:
    """The model for a collection's images: the one asked for or, among all, the first whose images belong into it."""
    registry = registry_of(request.app)
    models = registry.all() if wanted is None else [registry.get(wanted)]
    return models[await _do(_store(request).choose_model, name, [_reference(model) for model in models])]


async def _embed(
    request: Request, model: LoadedModel, images: Sequence[tuple[Image | Any, str]]
) -> tuple[list[npt.NDArray[np.float32]], Timing]:
    """Features of all images, or an error with a sentence for each bad one: the server's own, else the first."""
    result = await embed_images(request, model, [image for image, _ in images])
    bad = [(item, place) for item, (_, place) in zip(result.items, images, strict=True) if isinstance(item, AmclError)]
    if bad:
        worst = max((error for error, _ in bad), key=lambda error: error.status >= 500)
        raise type(worst)("; ".join(f"{place}: {error.detail}" for error, place in bad))
    return [item.features for item in result.items if isinstance(item, Embedded)], result.timing


def _point(point: NewPoint, vector: npt.NDArray[np.float32] | None = None) -> Point:
    source = point.source if vector is None else vector
    assert isinstance(source, list | np.ndarray)
    return Point(point.id, source, point.payload)


def _reference(model: LoadedModel) -> ModelRef:
    return ModelRef(model.name, model.bundle.digest, model.bundle.card.feature_dim)


def _record(record: Record, with_payload: bool, with_vector: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"id": record.id}
    if with_payload:
        result["payload"] = record.payload
    if with_vector:
        result["vector"] = record.vector
    return result


def _hit(hit: Hit, options: shapes.QueryOptions) -> dict[str, Any]:
    result = _record(hit.record, options.with_payload, options.with_vector)
    return {"id": result.pop("id"), "version": hit.record.version, "score": hit.score, **result}


def _operation(number: int) -> dict[str, Any]:
    return {"operation_id": number, "status": "completed"}


def _store(request: Request) -> VectorStore:
    store: VectorStore | None = request.app.state.collections
    if store is None:
        raise NotReady("the server is starting; try again soon")
    return store


async def _do(function: Callable[..., Value], *args: Any) -> Value:
    """Call the synchronous store in a thread."""
    return await to_thread.run_sync(partial(function, *args))


def _answer(result: object, started: float, request: Request | None = None, timing: Timing | None = None) -> Response:
    """Qdrant's envelope; with the time headers where images were embedded."""
    content = {"result": result, "status": "ok", "time": round(time.perf_counter() - started, 6)}
    if request is not None and timing is not None:
        return timed_json(content, timing, metrics_of(request))
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
