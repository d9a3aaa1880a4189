"""The default store: SQLite holds the truth, exact FAISS indexes in memory follow it.

Statements are put together from fixed pieces alone (here and in filters.py); every value is a parameter.
"""
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID

import numpy as np
import orjson

from amcl_serve.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    ItemFault,
    PointNotFound,
    StorageFull,
)
from amcl_serve.vectors.database import Database
from amcl_serve.vectors.filters import Sql, compile_filter
from amcl_serve.vectors.index.exact import ExactIndex, Rows, Vectors, scores
from amcl_serve.vectors.types import (
    MAX_LIMIT,
    MAX_REACH,
    CollectionInfo,
    Distance,
    Filter,
    Hit,
    ModelRef,
    Page,
    Point,
    PointId,
    Query,
    Record,
    choose_model,
    require_model,
)
from amcl_serve.vectors.values import MAX_SIZE, as_vector, check_name, encode_payload, id_to_key, key_to_id

_log = logging.getLogger(__name__)
_ROWS = "(SELECT value FROM json_each(?))"  # a list of any length as one parameter
_DROPPED = "~"  # no name begins with it: of a collection that is gone and not yet deleted
_NAMES = f"SELECT name FROM collections WHERE name NOT LIKE '{_DROPPED}%' ORDER BY name"
_PIECE = 256  # points deleted in a transaction
_LOADED = 4096  # vectors read at once while an index is built


@dataclass(frozen=True)
class _Row:
    """A row of the table `collections`."""

    id: int
    version: int
    info: CollectionInfo  # without the number of points: counting them takes a scan


class SqliteStore:
    """A VectorStore in one folder. One lock serialises all calls, so a search sees every write that returned."""

    def __init__(self, data_dir: Path, *, search_threads: int = 1) -> None:
        """Raises StorageError where the folder cannot be used or another process uses it."""
        self._database = Database(data_dir)
        self._search_threads = search_threads
        self._lock = threading.RLock()
        self._indexes: dict[int, ExactIndex] = {}  # by the collection's row id, built at its first query
        with contextlib.suppress(StorageFull):  # what a drop was killed at
            self._purge()

    def close(self) -> None:
        """Let go of the folder; every later call raises NotReady."""
        with self._lock:
            self._indexes.clear()
            self._database.close()

    def create(self, name: str, size: int, distance: Distance) -> None:
        """Make an empty collection."""
        check_name(name)
        if not 1 <= size <= MAX_SIZE:
            raise InvalidRequest(f"vectors.size: 1 to {MAX_SIZE}, not {size}")
        with self._lock, self._database.write() as connection:
            if connection.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone():
                raise CollectionExists(f"collection {name!r} exists already")
            connection.execute(
                "INSERT INTO collections (name, size, distance) VALUES (?, ?, ?)", (name, size, distance)
            )

    def drop(self, name: str) -> bool:
        """Remove a collection with its points."""
        sql = f"UPDATE collections SET name = '{_DROPPED}' || id WHERE name = ? RETURNING id"
        with self._lock:
            rows = self._database.free(lambda connection: connection.execute(sql, (name,)).fetchall())
            self._purge()
            return bool(rows)

    def _purge(self) -> None:
        """Delete what has been dropped, in pieces: a transaction takes room on the disk before it gives any."""
        found = self._database.read().execute(f"SELECT id FROM collections WHERE name LIKE '{_DROPPED}%'").fetchall()
        for (collection,) in found:
            self._indexes.pop(collection, None)
            sql = f"DELETE FROM points WHERE id IN (SELECT id FROM points WHERE collection = ? LIMIT {_PIECE})"
            while self._database.free(partial(_deleted, sql, collection)):
                pass
            self._database.free(partial(_deleted, "DELETE FROM collections WHERE id = ?", collection))

    def names(self) -> list[str]:
        """The collections' names, sorted."""
        with self._lock:
            return [name for (name,) in self._database.read().execute(_NAMES)]

    def describe(self, name: str) -> CollectionInfo:
        """Size, distance, model and number of points."""
        with self._lock:
            collection = self._collection(name)
            return replace(collection.info, points=self._count(collection, Sql("1")))

    def size(self, name: str) -> int:
        """Components of the collection's vectors."""
        with self._lock:
            return self._collection(name).info.size

    def choose_model(self, name: str, models: Sequence[ModelRef]) -> int:
        """Index of the first of `models` whose images belong into the collection; else CollectionMismatch."""
        with self._lock:
            return choose_model(self._collection(name).info, models)

    def upsert(self, name: str, points: Sequence[Point], *, model: ModelRef | None = None) -> int:
        """Write all points or none; of points with the same id the last one stays."""
        with self._lock:
            collection = self._collection(name)
            info = collection.info
            if model is not None:
                require_model(info, model)
            encoded = [_encoded(point, index, info) for index, point in enumerate(points)]
            version = collection.version + 1
            written: dict[int, Vectors] = {}
            with self._database.write() as connection:
                keys = orjson.dumps([key for key, _, _ in encoded]).decode()
                sql = f"SELECT id FROM points WHERE collection = ? AND key IN {_ROWS}"
                replaced = [row for (row,) in connection.execute(sql, (collection.id, keys))]
                for key, payload, vector in encoded:
                    (row,) = connection.execute(
                        "INSERT INTO points (collection, key, version, payload, vector) VALUES (?, ?, ?, ?, ?) "
                        "ON CONFLICT (collection, key) DO UPDATE SET version = excluded.version, "
                        "payload = excluded.payload, vector = excluded.vector RETURNING id",
                        (collection.id, key, version, payload, vector.tobytes()),
                    ).fetchone()
                    written[row] = vector
                connection.execute("UPDATE collections SET version = ? WHERE id = ?", (version, collection.id))
                if model is not None:
                    connection.execute(
                        "UPDATE collections SET model = ?, digest = ? WHERE id = ?",
                        (model.name, model.digest, collection.id),
                    )
            self._follow(collection.id, replaced, written)
            return version

    def delete(self, name: str, *, ids: Sequence[PointId] = (), where: Filter | None = None) -> int:
        """Delete the points with these ids and those that the filter matches."""
        condition = Sql("0") if where is None else compile_filter(where)
        keys = orjson.dumps([id_to_key(point) for point in ids]).decode()
        with self._lock:
            collection = self._collection(name)
            version = collection.version + 1

            def delete(connection: sqlite3.Connection) -> list[tuple[int]]:
                sql = f"DELETE FROM points WHERE collection = ? AND (key IN {_ROWS} OR {condition.text}) RETURNING id"
                gone = connection.execute(sql, (collection.id, keys, *condition.parameters)).fetchall()
                connection.execute("UPDATE collections SET version = ? WHERE id = ?", (version, collection.id))
                return gone

            gone = self._database.free(delete)
            self._follow(collection.id, [row for (row,) in gone], {})
            return version

    def scroll(self, name: str, *, limit: int, start: PointId | None = None, where: Filter | None = None) -> Page:
        """Points in the order of their ids."""
        _check_limit(limit)
        condition = compile_filter(where)
        with self._lock:
            collection = self._collection(name)
            sql = (
                "SELECT key, version, vector, payload FROM points "
                f"WHERE collection = ? AND key >= ? AND {condition.text} ORDER BY key LIMIT ?"
            )
            first = "" if start is None else id_to_key(start)
            parameters = (collection.id, first, *condition.parameters, limit + 1)
            records = [_record(*row) for row in self._database.read().execute(sql, parameters)]
        return Page(records[:limit], records[limit].id if len(records) > limit else None)

    def count(self, name: str, where: Filter | None = None) -> int:
        """Number of points that the filter matches."""
        condition = compile_filter(where)
        with self._lock:
            return self._count(self._collection(name), condition)

    def get(self, name: str, point: PointId) -> Record:
        """One point."""
        with self._lock:
            sql = "SELECT key, version, vector, payload FROM points WHERE collection = ? AND key = ?"
            collection = self._collection(name)
            row = self._database.read().execute(sql, (collection.id, id_to_key(point))).fetchone()
        if row is None:
            raise PointNotFound(f"collection {name!r} has no point {str(point)!r}")
        return _record(*row)

    def query(self, name: str, query: Query) -> list[Hit]:
        """The nearest points, best first, ties in the order of their ids."""
        _check_limit(query.limit)
        if query.offset < 0 or query.limit + query.offset > MAX_REACH:
            raise InvalidRequest(f"offset: 0 or more, and limit + offset at most {MAX_REACH}")
        condition = compile_filter(query.filter)
        with self._lock:
            collection = self._collection(name)
            info = collection.info
            itself: str | None = None
            if isinstance(query.target, int | UUID):
                itself = id_to_key(query.target)
                vector = self.get(name, query.target).vector
            else:
                try:
                    vector = as_vector(query.target, info.size, info.distance)
                except InvalidRequest as error:
                    raise InvalidRequest(f"query: {error.detail}") from None
            only = None
            if query.filter is not None:
                sql = f"SELECT id FROM points WHERE collection = ? AND {condition.text}"
                found = self._database.read().execute(sql, (collection.id, *condition.parameters))
                only = np.fromiter((row for (row,) in found), dtype=np.int64)
            reach = query.limit + query.offset
            rows = self._index(collection).candidates(vector, reach + (itself is not None), only)
            return self._rank(rows, vector, itself, query, info.distance)

    def _rank(self, rows: Rows, vector: Vectors, itself: str | None, query: Query, distance: Distance) -> list[Hit]:
        sql = f"SELECT key, id, vector FROM points WHERE id IN {_ROWS}"
        parameter = (orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY).decode(),)
        found = [row for row in self._database.read().execute(sql, parameter) if row[0] != itself]
        if not found:
            return []
        vectors = np.stack([np.frombuffer(blob, dtype="<f4") for _, _, blob in found])
        score = scores(vector, vectors, distance)
        badness = score if distance == "Euclid" else -score
        order = sorted(range(len(found)), key=lambda i: (badness[i], found[i][0]))[query.offset :][: query.limit]
        if query.score_threshold is not None:
            worst = np.float32(query.score_threshold) * (1 if distance == "Euclid" else -1)
            order = [i for i in order if badness[i] <= worst]
        sql = "SELECT key, version, vector, payload FROM points WHERE id = ?"
        return [Hit(score[i], _record(*self._database.read().execute(sql, (found[i][1],)).fetchone())) for i in order]

    def _collection(self, name: str) -> _Row:
        sql = "SELECT id, version, size, distance, model, digest FROM collections WHERE name = ?"
        row = self._database.read().execute(sql, (name,)).fetchone()
        if row is None:
            raise CollectionNotFound(f"no collection {name!r}")
        collection, version, size, distance, model, digest = row
        recorded = None if digest is None else ModelRef(model, digest, size)
        return _Row(collection, version, CollectionInfo(name, size, distance, recorded, 0))

    def _count(self, collection: _Row, condition: Sql) -> int:
        sql = f"SELECT count(*) FROM points WHERE collection = ? AND {condition.text}"
        (points,) = self._database.read().execute(sql, (collection.id, *condition.parameters)).fetchone()
        return int(points)

    def _index(self, collection: _Row) -> ExactIndex:
        index = self._indexes.get(collection.id)
        if index is None:
            index = ExactIndex(collection.info.size, collection.info.distance, self._search_threads)
            cursor = self._database.read().execute(
                "SELECT id, vector FROM points WHERE collection = ?", (collection.id,)
            )
            while rows := cursor.fetchmany(_LOADED):
                ids = np.array([row for row, _ in rows], dtype=np.int64)
                index.add(ids, np.stack([np.frombuffer(blob, dtype="<f4") for _, blob in rows]))
            self._indexes[collection.id] = index
        return index

    def _follow(self, collection: int, removed: Sequence[int], added: dict[int, Vectors]) -> None:
        """Bring the index up to a committed write; one that cannot follow is dropped and built anew when needed."""
        index = self._indexes.get(collection)
        if index is None:
            return
        try:
            index.remove(removed)
            if added:
                index.add(np.array(list(added), dtype=np.int64), np.stack(list(added.values())))
        except (MemoryError, RuntimeError):  # the write is durable all the same
            del self._indexes[collection]
            _log.exception("an index could not follow a write; the next query builds it anew")


def _deleted(sql: str, collection: int, connection: sqlite3.Connection) -> int:
    return connection.execute(sql, (collection,)).rowcount


def _encoded(point: Point, index: int, collection: CollectionInfo) -> tuple[str, str, Vectors]:
    """Key, payload and vector as they are stored; InvalidRequest about the `index`-th point."""
    place = "payload"
    try:
        payload = encode_payload(point.payload)
        place = "vector"
        vector = as_vector(point.vector, collection.size, collection.distance)
    except InvalidRequest as error:
        fault = ItemFault("points", index, error.code, f"{place}: {error.detail}")
        raise InvalidRequest(f"points[{index}].{place}: {error.detail}", [fault]) from None
    return id_to_key(point.id), payload, vector


def _record(key: str, version: int, vector: bytes, payload: str) -> Record:
    return Record(key_to_id(key), version, np.frombuffer(vector, dtype="<f4"), payload)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit: 1 to {MAX_LIMIT}, not {limit}")
