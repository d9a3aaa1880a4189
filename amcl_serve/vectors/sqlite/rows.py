"""Rows of the tables as the store's values, and back."""

# ruff: noqa: S608
from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from amcl_serve.errors import CollectionNotFound, PointNotFound
from amcl_serve.vectors.index.names import Names
from amcl_serve.vectors.types import CollectionInfo, IndexChoice, ModelRef, PointId, Record, Rows, Vectors
from amcl_serve.vectors.values import id_to_key, key_to_id

_NAMED = 1024  # rows read at once
LISTED = "(SELECT value FROM json_each(?))"  # a list of any length as one parameter
RECORD = "SELECT key, version, vector, payload FROM points JOIN vectors USING (id)"
DROPPED = "~"  # no name begins with it: of a collection that is gone and not yet deleted
MAKING = "~~"  # of one that is not all there yet

_ROW = (
    "SELECT id, name, version, size, distance, model, digest, points, kind, precision, thumbnails, heads "
    "FROM collections WHERE id = "
)


@dataclass(frozen=True)
class CollectionRow:
    """A row of the table `collections`."""

    id: int
    version: int
    info: CollectionInfo


def collection_row(connection: sqlite3.Connection, name: str) -> CollectionRow:
    """The collection called `name`, or by an alias of that name; raises CollectionNotFound."""
    sql = (
        f"{_ROW} coalesce("
        "(SELECT id FROM collections WHERE name = ?1), (SELECT collection FROM aliases WHERE name = ?1))"
    )
    row = None if name.startswith(DROPPED) else connection.execute(sql, (name,)).fetchone()
    if row is None:
        raise CollectionNotFound(f"no collection {name!r}")
    return _row(row)


def named_row(connection: sqlite3.Connection, collection: int) -> CollectionRow | None:
    """The collection with that number, if there is one that has a name."""
    row = connection.execute(f"{_ROW} ? AND name NOT LIKE '{DROPPED}%'", (collection,)).fetchone()
    return None if row is None else _row(row)


def _row(row: tuple[Any, ...]) -> CollectionRow:
    collection, own, version, size, distance, model, digest, points, kind, precision, thumbnails, heads = row
    recorded = None if digest is None else ModelRef(model, digest, size)
    kept = {"thumbnails": bool(thumbnails), "heads": bool(heads)}
    info = CollectionInfo(own, size, distance, recorded, points, IndexChoice(kind, precision), **kept)
    return CollectionRow(collection, version, info)


def point_record(connection: sqlite3.Connection, collection: CollectionRow, point: PointId) -> Record:
    """The point with that id; raises PointNotFound."""
    row = connection.execute(f"{RECORD} WHERE collection = ? AND key = ?", (collection.id, id_to_key(point))).fetchone()
    if row is None:
        raise PointNotFound(f"collection {collection.info.name!r} has no point {str(point)!r}")
    return record(*row)


def rows_of(connection: sqlite3.Connection, collection: int) -> Rows:
    """Those of all points of a collection, ascending."""
    return row_ids(connection.execute("SELECT id FROM points WHERE collection = ?", (collection,)))


def row_ids(rows: Iterable[tuple[Any, ...]]) -> Rows:
    """The first column, ascending."""
    return np.sort(np.fromiter(map(itemgetter(0), rows), dtype=np.int64))


def distinct_ids(rows: Iterable[tuple[int]]) -> Rows:
    """The only column, ascending, each once."""
    return np.unique(np.fromiter(chain.from_iterable(rows), dtype=np.int64))


def names_of(connection: sqlite3.Connection, collection: int) -> Names:
    """Those of all points of a collection."""
    names = Names()
    sql = "SELECT id, key, version FROM points WHERE collection = ? ORDER BY id"
    reading = connection.execute(sql, (collection,))
    while found := reading.fetchmany(_NAMED):
        rows, keys, versions = zip(*found, strict=True)
        names.add(np.array(rows), keys, np.array(versions))
    return names


def vectors_of(blobs: Iterable[bytes]) -> Vectors:
    """Stored vectors [N, size], of which there are some."""
    found = list(blobs)
    return np.frombuffer(b"".join(found), dtype="<f4").reshape(len(found), -1)


def fetched(connection: sqlite3.Connection, size: int, rows: Rows) -> tuple[Rows, Vectors]:
    """Those of the rows that there are, ascending, and their vectors float32 [N, size]."""
    sql = f"SELECT id, vector FROM vectors WHERE id IN {LISTED} ORDER BY id"
    found = connection.execute(sql, (json_of(rows),)).fetchall()
    if not found:
        return rows[:0], no_vectors(size)
    return row_ids(found), vectors_of(vector for _, vector in found)


def keys_of(points: Iterable[PointId]) -> str:
    """The ids as `key` has them: the parameter of LISTED."""
    return orjson.dumps([id_to_key(point) for point in points]).decode()


def no_vectors(size: int) -> Vectors:
    """[0, size]."""
    return np.empty((0, size), np.float32)


def json_of(rows: Rows) -> str:
    """The parameter of LISTED."""
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def record(key: str, version: int, vector: bytes, payload: str) -> Record:
    """What RECORD gives."""
    return Record(key_to_id(key), version, np.frombuffer(vector, dtype="<f4"), payload)
