"""The scripts of /collections; names and defaults are the server's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from amcl_serve.client.shapes import Distance, Filter, Found, Image, Page, Point, PointId, Vector
from amcl_serve.client.wire import Limits, Request, Script, checked_group, grouped, named, read, result, to_bytes


def collections(_: Limits) -> Script[list[str]]:
    """Names of the collections."""
    response = yield Request("GET", "/collections")
    found = result(response)
    return read(response, lambda: [str(entry["name"]) for entry in found["collections"]])


def collection(_: Limits, name: str) -> Script[dict[str, Any]]:
    """Points, size, distance and model of a collection; raises CollectionNotFound."""
    found: dict[str, Any] = result((yield Request("GET", _path(name))))
    return found


def create_collection(
    _: Limits,
    name: str,
    *,
    distance: Distance = "Cosine",
    size: int | None = None,
    model: str | None = None,
) -> Script[None]:
    """Make a collection of vectors of `size`, by default the model's D; raises CollectionExists."""
    vectors = {"distance": distance} | ({} if size is None else {"size": size})
    result((yield Request.json("PUT", _path(name), {"vectors": vectors}, params=named(model), idempotent=False)))


def delete_collection(_: Limits, name: str) -> Script[None]:
    """Remove a collection and its points, if it is there."""
    result((yield Request("DELETE", _path(name))))


def upsert(limits: Limits, name: str, points: Iterable[Point], *, model: str | None = None) -> Script[int]:
    """Write points, in as many requests as it takes, and return their number; each request is durable, all or none.

    `model` embeds the first image of a collection, which is tied to it from then on. ValueError where some points have
    vectors and others images.
    """
    count = 0
    described = (_described(point) for point in points)
    for group in grouped(described, limits, lambda point: len(point[0]) + len(point[1] or b"")):
        head = b"[" + b",".join(text for text, _ in group) + b"]"
        images = [image for _, image in group if image is not None]
        if images and len(images) != len(group):
            raise ValueError("the points of one call have either vectors or images")
        if images:
            files = [("files", ("image", image)) for image in images]
            request = Request("PUT", _path(name, "/points"), named(model), files=files, data={"points": head.decode()})
        else:
            headers = {"content-type": "application/json"}
            content = b'{"points":' + head + b"}"
            request = Request("PUT", _path(name, "/points"), headers=headers, content=content)
        result(checked_group((yield request), limits, len(group)))
        count += len(group)
    return count


def query(
    _: Limits,
    name: str,
    *,
    image: Image | None = None,
    vector: Vector | None = None,
    id: PointId | None = None,  # noqa: A002
    limit: int = 10,
    offset: int = 0,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002
    with_payload: bool = False,
    with_vector: bool = False,
) -> Script[list[Found]]:
    """The points nearest to an image, a vector or a stored point, best first; ValueError unless it is one of them."""
    if sum(target is not None for target in (image, vector, id)) != 1:
        raise ValueError("a query is by one of image, vector and id")
    options: dict[str, Any] = {
        "limit": limit,
        "offset": offset,
        "score_threshold": score_threshold,
        "filter": filter,
        "with_payload": with_payload,
        "with_vector": with_vector,
    }
    options = {key: value for key, value in options.items() if value is not None}
    path = _path(name, "/points/query")
    if image is not None:
        fields = {key: orjson.dumps(value).decode() for key, value in options.items()}
        request = Request("POST", path, files=[("file", ("image", to_bytes(image)))], data=fields)
    else:
        request = Request.json("POST", path, {"query": id if vector is None else _floats(vector), **options})
    response = yield request
    found = result(response)
    return read(response, lambda: list(found["points"]))


def delete(
    limits: Limits,
    name: str,
    ids: Sequence[PointId] | None = None,
    *,
    filter: Filter | None = None,  # noqa: A002
) -> Script[None]:
    """Delete points by their ids, in as many requests as it takes, or by a filter; ValueError unless it is one."""
    if (ids is None) == (filter is None):
        raise ValueError("points are deleted by either ids or a filter")
    path = _path(name, "/points/delete")
    if ids is None:
        result((yield Request.json("POST", path, {"filter": filter})))
        return
    for group in grouped(ids, limits, lambda _: 0):
        result(checked_group((yield Request.json("POST", path, {"points": group})), limits, len(group)))


def count(_: Limits, name: str, *, filter: Filter | None = None) -> Script[int]:  # noqa: A002
    """The number of points, of those that the filter lets through."""
    response = yield Request.json("POST", _path(name, "/points/count"), {} if filter is None else {"filter": filter})
    found = result(response)
    return read(response, lambda: int(found["count"]))


def scroll(
    _: Limits,
    name: str,
    *,
    limit: int = 10,
    offset: PointId | None = None,
    filter: Filter | None = None,  # noqa: A002
    with_payload: bool = True,
    with_vector: bool = False,
) -> Script[Page]:
    """A page of points, by their ids; `offset` is the next_page_offset of the page before."""
    body = {
        "limit": limit,
        "offset": offset,
        "filter": filter,
        "with_payload": with_payload,
        "with_vector": with_vector,
    }
    response = yield Request.json("POST", _path(name, "/points/scroll"), body)
    found = result(response)
    return read(response, lambda: Page(points=found["points"], next_page_offset=found["next_page_offset"]))


def _described(point: Point) -> tuple[bytes, bytes | None]:
    """A point as JSON, without its image, and the image's bytes."""
    body: dict[str, Any] = {"id": point.id, "payload": point.payload}
    if point.vector is not None:
        body["vector"] = _floats(point.vector)
    image = None if point.image is None else to_bytes(point.image)
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), image


def _floats(vector: Vector) -> Any:
    return np.ascontiguousarray(vector, np.float32)


def _path(name: str, rest: str = "") -> str:
    return f"/collections/{quote(name, safe='')}{rest}"
