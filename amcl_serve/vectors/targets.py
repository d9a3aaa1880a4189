"""The vector that a query searches for."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.types import CollectionInfo, Examples, PointId, Record, Vector, Vectors
from amcl_serve.vectors.values import as_vector, id_to_key

Stored = Callable[[PointId], Record]  # a collection's point; raises PointNotFound


def resolved(info: CollectionInfo, target: Vector | PointId | Examples, stored: Stored) -> tuple[set[str], Vectors]:
    """The keys of the points that are searched by, and the vector [size]."""
    if not isinstance(target, Examples):
        return _example(info, target, stored, "query")
    if not target.positive:
        raise InvalidRequest("query.recommend: at least one positive example")
    places = [
        *(f"positive[{i}]" for i in range(len(target.positive))),
        *(f"negative[{i}]" for i in range(len(target.negative))),
    ]
    found = [
        _example(info, example, stored, f"query.recommend.{place}")
        for example, place in zip([*target.positive, *target.negative], places, strict=True)
    ]
    wide = np.stack([vector for _, vector in found]).astype(np.float64)
    liked, rest = wide[: len(target.positive)].mean(axis=0), wide[len(target.positive) :]
    wanted = liked + (liked - rest.mean(axis=0)) if len(rest) else liked
    return set().union(*(keys for keys, _ in found)), as_vector(wanted, info.size, info.distance)


def _example(info: CollectionInfo, target: Vector | PointId, stored: Stored, place: str) -> tuple[set[str], Vectors]:
    if isinstance(target, int | UUID):
        return {id_to_key(target)}, stored(target).vector
    return set(), query_vector(info, target, place)


def query_vector(info: CollectionInfo, target: Vector, place: str = "query") -> Vectors:
    """A vector that is searched by, as those that are stored; `place` is where the request has it."""
    try:
        return as_vector(target, info.size, info.distance)
    except InvalidRequest as error:
        raise InvalidRequest(f"{place}: {error.detail}") from None
