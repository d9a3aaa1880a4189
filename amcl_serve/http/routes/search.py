"""/collections/{name}/points/query: the nearest points to a vector, to a stored point, or to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from anyio import to_thread
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive

from amcl_serve.engine.submissions import Timing
from amcl_serve.errors import (
    AmclError,
    CollectionMismatch,
    CollectionNotFound,
    InvalidRequest,
    ModelNotFound,
    PointNotFound,
)
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import (
    Started,
    Wanted,
    check_numbers,
    check_payloads,
    enveloped,
    enveloped_after_images,
    record,
)
from amcl_serve.http.calls import call, call_within
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.reading.collection_images import Place, model_for, vectors
from amcl_serve.http.reading.images import Image, at, from_text
from amcl_serve.http.server import Server, server_of
from amcl_serve.http.shapes.collections import Envelope
from amcl_serve.http.shapes.search import (
    QUERY_BODY,
    ImageQuery,
    QueryBatchRequest,
    QueryOptions,
    QueryRequest,
    QueryResult,
)
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.types import MAX_REACH, Hit, PointId, Query, VectorStore

router = routes("/collections", tag="collections")

_ERRORS = (InvalidRequest, CollectionNotFound, PointNotFound, CollectionMismatch, ModelNotFound)


@dataclass(frozen=True)
class Search:
    """A query as it came."""

    target: Any  # list[float] | PointId | Image, and the vector of an image once it is embedded
    options: QueryOptions
    place: Place

    @property
    def pictured(self) -> bool:
        """Whether it is by an image."""
        return isinstance(self.target, bytes | AmclError)


@router.post(
    "/{name}/points/query",
    summary="Search",
    response_model=Envelope[QueryResult],
    openapi_extra={"requestBody": QUERY_BODY},
)
@about(Access.READ, *_ERRORS, images=True, body=QueryRequest)
async def query(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """The nearest points to a vector, to a stored point (which is left out), or to an image; ties go by id."""
    server = server_of(request)
    search = await _read(request, server.settings.max_body_bytes)
    (result,), timing = await _answers(server, name, [search], wanted, request.receive)
    return _enveloped(result, started, timing, server)


@router.post("/{name}/points/query/batch", summary="Search many times", response_model=Envelope[list[QueryResult]])
@about(Access.READ, *_ERRORS, images=True, body=QueryBatchRequest)
async def query_batch(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """One result a search, in order; an error of one of them, which it names, refuses the request."""
    server = server_of(request)
    body = await bodies.json_only(request, QueryBatchRequest)
    bodies.check_count(len(body.searches), server.settings.max_items, "searches")
    if not body.searches:
        raise InvalidRequest("searches: at least one")
    if sum(search.limit for search in body.searches) > MAX_REACH:
        raise InvalidRequest(f"searches: their limits add up to more than {MAX_REACH}")
    searches = await to_thread.run_sync(
        lambda: [
            _search(search, Place("searches", index, f"searches[{index}]"))
            for index, search in enumerate(body.searches)
        ]
    )
    results, timing = await _answers(server, name, searches, wanted, request.receive)
    return _enveloped(results, started, timing, server)


async def _read(request: Request, max_bytes: int) -> Search:
    """A query: JSON with `query`, or multipart with one image as `file` and the options as fields."""
    kind = bodies.media_type(request.scope)
    if kind == bodies.JSON:
        given, _ = await bodies.read_json(request.receive, QueryRequest)
        return _search(given, Place("query", 0, ""))
    if kind != bodies.MULTIPART:
        raise bodies.unsupported(kind, f"query come as {bodies.JSON} or {bodies.MULTIPART}")
    form = await bodies.read_form(request, ("file",), 1, "1 image a query", max_field_bytes=max_bytes)
    files = form.files["file"]
    if not files:
        raise InvalidRequest("the form has no image; send one as `file`")
    options: dict[str, Any] = {name: texts[-1] for name, texts in form.fields.items()}
    for name in {"filter", "params"} & set(options):
        text = options[name].encode()
        bodies.check_values(text, name)
        try:
            options[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise InvalidRequest(f"{name}: not valid JSON") from None
    return Search(files[0], bodies.validated(QueryOptions.model_validate, options), Place("file", 0, "query"))


def _search(given: QueryRequest, place: Place) -> Search:
    """A query in JSON with its image's bytes; `place` is that of the search, whose words are empty for the only one."""
    words = f"{place.words}.query" if place.words else "query"
    target: list[float] | PointId | Image
    if isinstance(given.query, ImageQuery):
        target = from_text(given.query.image, place.operand, place.index, words)
    else:
        target = given.query
    return Search(target, given, Place(place.operand, place.index, words))


async def _answers(
    server: Server, name: str, searches: Sequence[Search], wanted: str | None, receive: Receive
) -> tuple[list[dict[str, Any]], Timing | None]:
    """A result a search, and the times of their images if there are any."""
    store = server.collections
    numbers = sum(search.options.limit for search in searches if search.options.with_vector)
    if numbers:
        check_numbers(numbers, await call(server, store.size, name))
    pictured = [search for search in searches if search.pictured]
    if not pictured:
        targets: list[Any] = [search.target for search in searches]
        return await call_within(server, receive, _run, store, name, searches, targets), None
    async with model_for(server, name, wanted) as model:
        images = [search.target for search in pictured]
        found, timing = await vectors(model, images, [search.place for search in pictured], receive)
    rows = iter(found)
    targets = [next(rows) if search.pictured else search.target for search in searches]
    return await call_within(server, receive, _run, store, name, searches, targets), timing


def _run(
    store: VectorStore, name: str, searches: Sequence[Search], targets: Sequence[Any], *, budget: Budget
) -> list[dict[str, Any]]:
    results = []
    payloads = 0
    for search, target in zip(searches, targets, strict=True):
        options = search.options
        asked = Query(target, options.limit, options.offset, options.score_threshold, options.filter)
        try:
            hits = store.query(name, asked, budget=budget)
        except InvalidRequest as error:
            if search.place.operand != "searches":
                raise
            raise at(error, "searches", search.place.index, f"searches[{search.place.index}]") from None
        if options.with_payload:
            payloads += sum(len(hit.record.payload_json) for hit in hits)
            check_payloads(payloads)
        results.append({"points": [_hit(hit, options) for hit in hits]})
    return results


def _hit(hit: Hit, options: QueryOptions) -> dict[str, Any]:
    result = record(hit.record, payload=options.with_payload, vector=options.with_vector)
    return {"id": result.pop("id"), "version": hit.record.version, "score": hit.score, **result}


def _enveloped(result: object, started: float, timing: Timing | None, server: Server) -> Response:
    if timing is None:
        return enveloped(result, started)
    return enveloped_after_images(result, started, timing, server.metrics)
