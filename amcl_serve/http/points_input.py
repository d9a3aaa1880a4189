"""Reads points and queries out of JSON and multipart bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from anyio import to_thread
from fastapi import Request
from pydantic import TypeAdapter

from amcl_serve.errors import InvalidRequest, TooManyItems, UnsupportedMediaType
from amcl_serve.http.input import JSON, MULTIPART, Image, from_text, media_type, read_form, validated
from amcl_serve.http.shapes.collections import FilePoint, ImageQuery, QueryOptions, QueryRequest, UpsertRequest
from amcl_serve.http.shapes.shape import Items
from amcl_serve.vectors.types import PointId

_FILE_POINTS = TypeAdapter[list[FilePoint]](Items[FilePoint])


@dataclass(frozen=True)
class NewPoint:
    """A point as it came: its vector's components, or its image's bytes, or why there are none."""

    id: PointId
    payload: dict[str, Any]
    source: list[float] | Image
    place: str  # in the request, for errors


@dataclass(frozen=True)
class Search:
    """A query as it came."""

    target: list[float] | PointId | Image
    options: QueryOptions


async def read_points(request: Request, *, max_items: int, max_bytes: int) -> list[NewPoint]:
    """The points of an upsert: JSON `points`, or multipart `files` with a JSON field `points` in the same order."""
    if _kind(request, "points") == JSON:
        body = await to_thread.run_sync(validated, UpsertRequest.model_validate_json, await request.body())
        check_count(len(body.points), max_items, "points")
        return await to_thread.run_sync(_new_points, body)
    files, fields = await _form(request, "files", max_items, f"at most {max_items} images a request", max_bytes)
    if set(fields) != {"points"}:
        raise InvalidRequest(
            'the form has `files` and one text field `points`: JSON like [{"id": 1, "payload": {}}, …]'
        )
    found = await to_thread.run_sync(validated, _FILE_POINTS.validate_json, fields["points"])
    if len(found) != len(files):
        raise InvalidRequest(f"points: {len(found)} for {len(files)} files; one each, in the same order")
    pairs = enumerate(zip(found, files, strict=True))
    return [NewPoint(point.id, point.payload or {}, data, f"files[{i}]") for i, (point, data) in pairs]


async def read_query(request: Request, *, max_bytes: int) -> Search:
    """A query: JSON with `query`, or multipart with one image as `file` and the options as fields."""
    if _kind(request, "query") == JSON:
        return to_search(await to_thread.run_sync(validated, QueryRequest.model_validate_json, await request.body()))
    files, fields = await _form(request, "file", 1, "1 image a query", max_bytes)
    if not files:
        raise InvalidRequest("the form has no image; send one as `file`")
    options: dict[str, Any] = dict(fields)
    for name in {"filter", "params"} & set(fields):
        try:
            options[name] = orjson.loads(fields[name])
        except orjson.JSONDecodeError:
            raise InvalidRequest(f"{name}: not valid JSON") from None
    return Search(files[0], validated(QueryOptions.model_validate, options))


def to_search(body: QueryRequest) -> Search:
    """A JSON query with its image's bytes."""
    target = body.query
    return Search(_image(target.image, "query") if isinstance(target, ImageQuery) else target, body)


def check_count(count: int, limit: int, what: str) -> None:
    """Raise TooManyItems above `limit`, InvalidRequest at none."""
    if count > limit:
        raise TooManyItems(f"{count} {what}; the limit is {limit} a request")
    if count == 0:
        raise InvalidRequest(f"{what}: at least one")


def _new_points(body: UpsertRequest) -> list[NewPoint]:
    points = []
    for index, point in enumerate(body.points):
        place = f"points[{index}]"
        source = _image(point.image, f"{place}.image") if point.image is not None else point.vector
        assert source is not None
        points.append(NewPoint(point.id, point.payload or {}, source, place))
    return points


def _image(text: str, place: str) -> Image:
    try:
        return from_text(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{place}: {error.detail}") from None


def _kind(request: Request, what: str) -> str:
    kind = media_type(request)
    if kind not in (JSON, MULTIPART):
        raise UnsupportedMediaType(f"the content type is {kind or 'missing'}; {what} come as {JSON} or {MULTIPART}")
    return kind


async def _form(
    request: Request, name: str, max_files: int, limit: str, max_bytes: int
) -> tuple[list[bytes], dict[str, str]]:
    """The files under `name`, and the last text of each field."""
    files, fields = await read_form(request, (name,), max_files, limit, max_field_bytes=max_bytes)
    return files[name], {field: texts[-1] for field, texts in fields.items()}
