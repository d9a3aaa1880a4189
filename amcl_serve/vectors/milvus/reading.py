"""Points of one collection as they lie in Milvus, and the search through all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from amcl_serve.errors import PointNotFound
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.index.exact import scores
from amcl_serve.vectors.index.graph import SEARCH_WIDTH
from amcl_serve.vectors.matching import predicate
from amcl_serve.vectors.milvus.catalogue import Entry
from amcl_serve.vectors.milvus.connection import Connection, Row
from amcl_serve.vectors.milvus.expressions import both, narrowed
from amcl_serve.vectors.targets import resolved
from amcl_serve.vectors.types import Filter, Hit, PointId, Query, Record, Vectors
from amcl_serve.vectors.values import id_to_key, key_to_id

WHOLE = ("version", "vector", "payload")
Found = tuple[list[str], npt.NDArray[np.float32]]  # keys and scores


def matching(
    connection: Connection,
    entry: Entry,
    where: Filter | None,
    fields: Sequence[str],
    *,
    start: str = "",
    most: int | None = None,
    budget: Budget | None = None,
) -> Iterator[list[Row]]:
    """The points from the key `start` on that the filter matches, by key, page by page; a page may be empty.

    `most`: how many of them are wanted.
    """
    expression = narrowed(where)
    fits = predicate(where)
    read = fields if expression.whole else tuple(dict.fromkeys([*fields, "payload"]))
    text = both(f'key >= "{start}"' if start else "", expression.text)
    size = entry.size if "vector" in read else 0
    most = most if expression.whole else None
    for page in connection.pages(entry.place, text, read, size=size, payload=entry.largest, most=most, budget=budget):
        yield page if expression.whole else [row for row in page if fits(row["key"], row["payload"])]


def records(connection: Connection, entry: Entry, keys: Sequence[str]) -> list[Record]:
    """Those of these points that there are, by key."""
    return [record(row) for row in connection.rows(entry.place, keys, WHOLE, entry.size)]


def record(row: Row) -> Record:
    """Of a row with all its fields."""
    payload = orjson.dumps(row["payload"]).decode()
    return Record(key_to_id(row["key"]), row["version"], np.asarray(row["vector"], np.float32), payload)


def point(connection: Connection, entry: Entry, identity: PointId) -> Record:
    """One point; raises PointNotFound."""
    for found in records(connection, entry, [id_to_key(identity)]):
        return found
    raise PointNotFound(f"collection {entry.name!r} has no point {str(identity)!r}")


def hits(connection: Connection, entry: Entry, query: Query, budget: Budget | None) -> list[Hit]:
    """The nearest points: those that Milvus' index proposes, or of all points, ranked here; ties by id."""
    predicate(query.filter)  # which raises InvalidRequest

    def stored(identity: PointId) -> Record:
        return point(connection, entry, identity)

    without, vector = resolved(entry.info(), query.target, stored)
    reach = query.limit + query.offset + len(without)
    expression = narrowed(query.filter)
    if query.exact or not expression.whole:
        found = _nearest(connection, entry, query.filter, vector, reach, budget)
    else:
        rows = connection.search(entry.place, vector, reach, expression.text, query.width or SEARCH_WIDTH)
        found = _scored(rows, vector, entry)
    keys, values = _best(found, reach, entry)
    ranked = [(key, value) for key, value in zip(keys, values, strict=True) if key not in without]
    chosen = dict(ranked[query.offset :][: query.limit])
    if query.score_threshold is not None:
        sign, bound = _sign(entry), np.float32(query.score_threshold)
        chosen = {key: value for key, value in chosen.items() if sign * value <= sign * bound}
    whole = {id_to_key(each.id): each for each in records(connection, entry, list(chosen))}
    return [Hit(value, whole[key]) for key, value in chosen.items() if key in whole]  # others were deleted meanwhile


def _nearest(
    connection: Connection, entry: Entry, where: Filter | None, vector: Vectors, count: int, budget: Budget | None
) -> Found:
    """Look at every point, and keep `count`."""
    keys: list[str] = []
    values = np.empty(0, np.float32)
    for page in matching(connection, entry, where, ("vector",), budget=budget):
        more, found = _scored(page, vector, entry)
        keys, values = _best((keys + more, np.concatenate([values, found])), count, entry)
    return keys, values


def _scored(rows: Sequence[Row], vector: Vectors, entry: Entry) -> Found:
    vectors = np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), entry.size)
    return [row["key"] for row in rows], scores(vector, vectors, entry.distance)


def _best(found: Found, count: int, entry: Entry) -> Found:
    """The `count` best, in order."""
    keys, values = found
    badness: list[Any] = (_sign(entry) * values).tolist()
    order = sorted(range(len(keys)), key=lambda i: (badness[i], keys[i]))[:count]
    return [keys[i] for i in order], values[order]


def _sign(entry: Entry) -> np.float32:
    return np.float32(1 if entry.distance == "Euclid" else -1)
