"""Points on their way to a collection: checked, written as JSON, their images beside them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

import numpy as np
import orjson

from amcl_serve.client import images
from amcl_serve.client.calls import Call
from amcl_serve.client.shapes import Point, Vector

_NUMBER_BYTES = 16  # of a float32 in JSON, at most, with its comma


@dataclass(frozen=True)
class Ready:
    """A point as it is sent: id, payload and vector as JSON members, and the bytes of its image's file."""

    members: dict[str, Any]
    image: bytes | None

    def bytes(self, *, form: bool) -> int:
        """What it takes of a request, at most; in JSON an image takes a third more than in a form."""
        vector = self.members.get("vector", ())
        others = orjson.dumps({name: value for name, value in self.members.items() if name != "vector"})
        size = 0 if self.image is None else len(self.image)
        return len(others) + _NUMBER_BYTES * len(vector) + (size if form else size * 4 // 3)


def check(point: Point, place: int) -> None:
    """Raise what sending the point would, without reading its image: ValueError, TypeError or OSError.

    `place` is the point's among those of the call, for the sentence.
    """
    where = f"points[{place}]"
    if not isinstance(point, Point):
        raise TypeError(f"{where}: a point is an amcl_serve.client.Point, not {type(point).__name__}")
    if not _is_id(point.id):
        raise ValueError(f"{where}: an id is an integer from 0 to 2^64 - 1 or a UUID, not {point.id!r}")
    try:
        orjson.dumps(point.payload)
    except TypeError as error:
        raise ValueError(f"{where}: the payload is no JSON: {error}") from None
    if point.image is not None:
        images.check(point.image)
        return
    vector = floats(point.vector if point.vector is not None else [])
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise ValueError(f"{where}: a vector is a list of finite numbers, not of shape {list(vector.shape)}")


def check_all(points: Sequence[Point]) -> None:
    """`check` each; ValueError too where vectors differ in their size, for no collection takes them all."""
    sizes: dict[int, int] = {}
    for place, point in enumerate(points):
        check(point, place)
        if point.vector is not None:
            sizes.setdefault(len(point.vector), place)
    if len(sizes) > 1:
        (size, place), (other, another) = list(sizes.items())[:2]
        raise ValueError(
            f"points[{another}]: its vector has {other} numbers, that of points[{place}] {size}; a collection takes one"
        )


def members(point: Point) -> dict[str, Any]:
    """The point as JSON members, without its image."""
    found: dict[str, Any] = {"id": point.id, "payload": point.payload}
    if point.vector is not None:
        found["vector"] = floats(point.vector)
    return found


def call(path: str, points: Sequence[Ready], params: dict[str, str]) -> Call:
    """The request that writes these points: a form where all have images, else JSON, in which both kinds find room."""
    if all(point.image is not None for point in points):
        files = [("files", ("image", point.image)) for point in points if point.image is not None]
        listed = orjson.dumps([point.members for point in points]).decode()
        return Call("PUT", path, params, files=files, data={"points": listed})
    body = [
        point.members if point.image is None else point.members | {"image": base64.b64encode(point.image).decode()}
        for point in points
    ]
    return Call.json("PUT", path, {"points": body}, params=params)


def floats(vector: Vector) -> Any:
    """A vector as float32, which is what is sent."""
    return np.ascontiguousarray(vector, np.float32)


def path(name: str, rest: str = "") -> str:
    """The path of a collection, or of something in it."""
    return f"/collections/{quote(name, safe='')}{rest}"


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        try:
            UUID(value)
        except ValueError:
            return False
        return True
    return isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64)
