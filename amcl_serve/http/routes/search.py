"""/collections/{name}/points/query: the nearest points to a vector, to a stored point, or to an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from anyio import to_thread
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive

from amcl_serve.engine.submissions import Embedded, Timing
from amcl_serve.errors import CollectionMismatch, CollectionNotFound, InvalidRequest, ModelNotFound, PointNotFound
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import Started, Wanted, check_numbers, enveloped, enveloped_after_images
from amcl_serve.http.answers.hits import Find, Finder
from amcl_serve.http.answers.pairs import Pairing
from amcl_serve.http.calls import call, call_within
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.reading.collection_images import Place, embeddings, model_for, require_heads
from amcl_serve.http.reading.images import at
from amcl_serve.http.reading.targets import Picture, Target, asked_for, embedded, pictures, target_of
from amcl_serve.http.server import Server, server_of
from amcl_serve.http.shapes.collections import Envelope
from amcl_serve.http.shapes.search import (
    QUERY_BODY,
    GroupsResult,
    QueryBatchRequest,
    QueryGroupsRequest,
    QueryOptions,
    QueryRequest,
    QueryResult,
)
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.protocol import VectorStore
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH

router = routes("/collections", tag="collections")

_ERRORS = (InvalidRequest, CollectionNotFound, PointNotFound, CollectionMismatch, ModelNotFound)


@dataclass(frozen=True)
class Search:
    """A query as it came."""

    target: Target
    options: QueryOptions
    place: Place


@router.post(
    "/{name}/points/query",
    summary="Search",
    response_model=Envelope[QueryResult],
    openapi_extra={"requestBody": QUERY_BODY},
)
@about(Access.READ, *_ERRORS, images=True, body=QueryRequest)
async def query(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """The nearest points to a vector, to a stored point (which is left out), or to an image, or like several of these
    and unlike others; ties go by id. Or points in the order of a field or of their ids, or at random.
    """
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


@router.post("/{name}/points/query/groups", summary="Search in groups", response_model=Envelope[GroupsResult])
@about(Access.READ, *_ERRORS, images=True, body=QueryGroupsRequest)
async def query_groups(request: Request, name: str, started: Started, wanted: Wanted = None) -> Response:
    """The groups of the best points, best first, among the best 10,000."""
    server = server_of(request)
    body = await bodies.json_only(request, QueryGroupsRequest)
    search = _search(body, Place("query", 0, ""))
    if body.limit * body.group_size > MAX_LIMIT:
        raise InvalidRequest(f"limit times group_size: at most {MAX_LIMIT}")
    (result,), timing = await _answers(
        server, name, [search], wanted, request.receive, partial(Finder.groups, by=body.group_by, size=body.group_size)
    )
    return _enveloped(result, started, timing, server)


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
    place = Place("file", 0, "query")
    return Search(Picture(files[0], place), bodies.validated(QueryOptions.model_validate, options), place)


def _search(given: QueryRequest, place: Place) -> Search:
    """A query in JSON with its images' bytes; `place` is that of the search, whose words are empty for the only one."""
    here = Place(place.operand, place.index, f"{place.words}.query" if place.words else "query")
    target = target_of(given.query, here)
    if given.rerank is not None and not isinstance(target, Picture):
        raise InvalidRequest(f"{place.words}{'.' * bool(place.words)}rerank: only a query by one image can be reranked")
    return Search(target, given, here)


async def _answers(
    server: Server,
    name: str,
    searches: Sequence[Search],
    wanted: str | None,
    receive: Receive,
    find: Find = Finder.points,
) -> tuple[list[Any], Timing | None]:
    """What `find` makes of each search, and the times of their images if there are any."""
    store = server.collections
    numbers = sum(search.options.limit for search in searches if search.options.with_vector)
    if numbers:
        check_numbers(numbers, await call(server, store.size, name))
    seen = [picture for search in searches for picture in pictures(search.target)]
    bodies.check_count(len(seen), server.settings.max_items, "images")
    ways: list[tuple[Target, Find]] = [(search.target, find) for search in searches]
    if not seen:
        return await call_within(server, receive, _run, store, name, searches, ways), None
    info = await call(server, store.describe, name)
    reranked = any(search.options.rerank for search in searches)
    if reranked and not info.heads:
        raise InvalidRequest(
            f"rerank: collection {info.name!r} keeps no heads; index its images into one created with `heads: true`"
        )
    # By its own name: an alias may come to stand for the images of another model while this one's vectors are made.
    async with model_for(server, info, asked_for(wanted, seen)) as model:
        if reranked:
            require_heads(model, "rerank: a pair is scored by heads")
        rows, timing = await embeddings(model, [each.image for each in seen], [each.place for each in seen], receive)
    row = iter(rows)
    ways = [_way(search, row, model, find) for search in searches]
    return await call_within(server, receive, _run, store, info.name, searches, ways), timing


def _way(search: Search, rows: Iterator[Embedded], model: LoadedModel, find: Find) -> tuple[Target, Find]:
    """What a search is by, its images embedded, and what finds it; `rows` are the embeddings of all images."""
    if search.options.rerank is None:
        return embedded(search.target, (row.features for row in rows)), find
    image = next(rows)
    return image.features, partial(Finder.reranked, pairing=Pairing(model.scorer, image))


def _run(
    store: VectorStore, name: str, searches: Sequence[Search], ways: Sequence[tuple[Target, Find]], *, budget: Budget
) -> list[Any]:
    finder = Finder(store, name, budget)
    results = []
    for search, (target, find) in zip(searches, ways, strict=True):
        try:
            results.append(find(finder, target, search.options))
        except InvalidRequest as error:
            if search.place.operand != "searches":
                raise
            raise at(error, "searches", search.place.index, f"searches[{search.place.index}]") from None
    return results


def _enveloped(result: object, started: float, timing: Timing | None, server: Server) -> Response:
    if timing is None:
        return enveloped(result, started)
    return enveloped_after_images(result, started, timing, server.metrics)
