"""Checks of what callers put into a collection: names, ids, vectors, payloads. Every check raises InvalidRequest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH, Distance, PointId, Query, Vector, Vectors

MAX_SIZE = 65_536  # components of a vector
MAX_POINTS = 10_000  # that are written or deleted by their ids at a time
MAX_LENGTH = 1e18  # Euclidean length of a vector: squared distances stay finite in float32
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_PAYLOAD_DEPTH = 32
_EASY = 1e150  # components whose squares are finite

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)


def is_name(name: str) -> bool:
    """Whether a collection may be called so."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """A collection's name: 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter or digit."""
    if not is_name(name):
        raise InvalidRequest(
            "a collection's name is 1 to 128 letters (A-Z, a-z), digits, '.', '_' and '-', "
            "the first of them a letter or a digit"
        )


def check_limit(limit: int) -> None:
    """InvalidRequest unless one answer holds so many points."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit: 1 to {MAX_LIMIT}, not {limit}")


def check_reach(query: Query) -> None:
    """InvalidRequest unless a query's limit and offset are possible."""
    check_limit(query.limit)
    if query.offset < 0 or query.limit + query.offset > MAX_REACH:
        raise InvalidRequest(f"offset: 0 or more, and limit + offset at most {MAX_REACH}")


def parse_point_id(value: object) -> PointId:
    """An unsigned 64-bit integer, or a UUID as string (with or without hyphens)."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return value
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise InvalidRequest("a point's id is an unsigned 64-bit integer or a UUID string")


def id_to_key(point: PointId) -> str:
    """The text under which SQLite stores an id; its order is that of the ids, integers before UUIDs."""
    return f"{point:020d}" if isinstance(point, int) else f"u{point}"


def key_to_id(key: str) -> PointId:
    """The inverse of `id_to_key`."""
    return UUID(key[1:]) if key.startswith("u") else int(key)


def as_vector(values: Vector, size: int, distance: Distance) -> Vectors:
    """`values` as float32 [size], of unit length for Cosine, to the last bit as `as_vectors` has it."""
    wide = np.asarray(values, dtype=np.float64)
    if wide.shape == (size,):
        # Methods of arrays that end here take as long again to begin, and this is a tenth of a search.
        largest = float(np.maximum.reduce(np.abs(wide)))
        if 0 < largest < _EASY:
            length = largest * math.sqrt(np.add.reduce(np.square(wide / largest)))
            if length <= MAX_LENGTH:
                return (wide / length if distance == "Cosine" else wide).astype(np.float32)
    (found,) = as_vectors([values], size, distance)
    if isinstance(found, InvalidRequest):
        raise found
    return found


def as_vectors(values: Sequence[Vector], size: int, distance: Distance) -> list[Vectors | InvalidRequest]:
    """Each of `values` as float32 [size], of unit length for Cosine, or what is wrong with it."""
    good = [index for index, each in enumerate(values) if len(each) == size]
    wide = np.array([values[index] for index in good], dtype=np.float64).reshape(len(good), size)
    largest = np.abs(wide).max(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        # Dividing first keeps the sum of squares from overflowing or vanishing.
        length = largest * np.sqrt(np.square(wide / np.where(largest > 0, largest, 1)[:, None]).sum(axis=1))
        divisor = np.where(length > 0, length, 1) if distance == "Cosine" else np.ones(len(good))
        narrow = (wide / divisor[:, None]).astype(np.float32)
    found: list[Vectors | InvalidRequest] = [
        InvalidRequest(f"the vector has {len(each)} components, the collection's size is {size}") for each in values
    ]
    for index, row, long in zip(good, narrow, length.tolist(), strict=True):
        if not math.isfinite(long):
            found[index] = InvalidRequest("the vector holds NaN or infinity")
        elif long > MAX_LENGTH:
            found[index] = InvalidRequest(f"the vector's length is {long:.3g}; at most {MAX_LENGTH:.0e} is allowed")
        elif long == 0 and distance == "Cosine":
            found[index] = InvalidRequest("a vector of zeros has no direction, which Cosine needs")
        else:
            found[index] = row
    return found


def encode_payload(payload: Mapping[str, Any]) -> str:
    """The payload as compact JSON text; bounded in bytes and in depth, without NUL characters (SQLite cuts at them)."""
    _check_tree(payload)
    try:
        encoded = orjson.dumps(payload)
    except TypeError:  # numbers beyond 64 bits, lone surrogates
        raise InvalidRequest("the payload is no JSON of 64-bit numbers and valid Unicode") from None
    if len(encoded) > MAX_PAYLOAD_BYTES:
        raise InvalidRequest(f"the payload has {len(encoded)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed")
    return encoded.decode()


def _check_tree(payload: Mapping[str, Any]) -> None:
    level: list[Any] = [payload]
    for _ in range(MAX_PAYLOAD_DEPTH):
        inner: list[Any] = []
        for node in level:
            if isinstance(node, str) and "\0" in node:
                raise InvalidRequest("the payload holds a NUL character")
            if isinstance(node, float) and not math.isfinite(node):
                raise InvalidRequest("the payload holds NaN or infinity, which JSON cannot say")
            if isinstance(node, Mapping):
                inner += [*node.keys(), *node.values()]
            elif isinstance(node, list):
                inner += node
        level = inner
        if not level:
            return
    raise InvalidRequest(f"the payload is nested deeper than {MAX_PAYLOAD_DEPTH} levels")
