"""The default store: SQLite holds the truth, exact FAISS indexes in memory follow it.

Statements are put together from fixed pieces alone (here and in filters.py); every value is a parameter.
"""
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest, ItemFault, NotReady, StorageFull
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.filters import compile_filter
from amcl_serve.vectors.index.live import Change
from amcl_serve.vectors.search import Search
from amcl_serve.vectors.sqlite.database import Database
from amcl_serve.vectors.sqlite.rows import (
    DROPPED,
    LISTED,
    RECORD,
    check_limit,
    collection_row,
    no_vectors,
    point_record,
    record,
    row_ids,
)
from amcl_serve.vectors.types import (
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
    Vectors,
    choose_model,
    require_model,
)
from amcl_serve.vectors.values import MAX_SIZE, as_vectors, check_name, encode_payload, id_to_key

_NAMES = f"SELECT name FROM collections WHERE name NOT LIKE '{DROPPED}%' ORDER BY name"
_PIECES = (4096, 32)  # points deleted in a transaction; the second where the disk is full, whose log the room takes


class SqliteStore:
    """A VectorStore in one folder. One thread writes; any number read, each a state that was, with its own search."""

    def __init__(self, data_dir: Path, *, search_threads: int = 1) -> None:
        """Raises StorageError where the folder cannot be used or another process uses it."""
        self._database = Database(data_dir)
        self._reading = self._database.readers.reading
        self._write = self._database.writer.write
        self._search = Search(self._database, search_threads)
        with contextlib.suppress(StorageFull):  # what a drop was killed at
            self._purge()

    def close(self) -> None:
        """Let go of the folder; every later call raises NotReady."""
        self._database.close()
        self._search.close()

    def check(self) -> None:
        """NotReady where it cannot be written, StorageDamaged where it cannot be read."""
        if not self._database.writer.running:
            raise NotReady("the collections cannot be written")
        self.names()

    def create(self, name: str, size: int, distance: Distance) -> None:
        """Make an empty collection."""
        check_name(name)
        if not 1 <= size <= MAX_SIZE:
            raise InvalidRequest(f"vectors.size: 1 to {MAX_SIZE}, not {size}")

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone():
                raise CollectionExists(f"collection {name!r} exists already")
            sql = "INSERT INTO collections (name, size, distance) VALUES (?, ?, ?)"
            connection.execute(sql, (name, size, distance))

        self._write(work)

    def drop(self, name: str) -> bool:
        """Remove a collection with its points."""
        sql = f"UPDATE collections SET name = '{DROPPED}' || id WHERE name = ? RETURNING id"
        rows = self._write(lambda connection: connection.execute(sql, (name,)).fetchall(), frees=True)
        self._purge()
        return bool(rows)

    def _purge(self) -> None:
        """Delete what has been dropped, in pieces, between which others write."""
        with self._reading() as connection:
            found = connection.execute(f"SELECT id FROM collections WHERE name LIKE '{DROPPED}%'").fetchall()
        for (collection,) in found:
            self._search.forget(collection)
            large, small = (
                f"DELETE FROM points WHERE id IN (SELECT id FROM points WHERE collection = ? LIMIT {piece})"
                for piece in _PIECES
            )
            try:
                while self._write(partial(_deleted, large, collection)):
                    pass
            except StorageFull:  # a transaction takes room on the disk before it gives any
                while self._write(partial(_deleted, small, collection), frees=True):
                    pass
            self._write(partial(_deleted, "DELETE FROM collections WHERE id = ?", collection), frees=True)

    def names(self) -> list[str]:
        """The collections' names, sorted."""
        with self._reading() as connection:
            return [name for (name,) in connection.execute(_NAMES)]

    def describe(self, name: str) -> CollectionInfo:
        """Size, distance, model and number of points."""
        with self._reading() as connection:
            return collection_row(connection, name).info

    def size(self, name: str) -> int:
        """Components of the collection's vectors."""
        return self.describe(name).size

    def choose_model(self, name: str, models: Sequence[ModelRef]) -> int:
        """Index of the first of `models` whose images belong into the collection; else CollectionMismatch."""
        return choose_model(self.describe(name), models)

    def upsert(self, name: str, points: Sequence[Point], *, model: ModelRef | None = None) -> int:
        """Write all points or none; of points with the same id the last one stays."""
        with self._reading() as connection:
            info = collection_row(connection, name).info
        encoded = {row[0]: row for row in _encoded(points, info)}
        keys = orjson.dumps(list(encoded)).decode()

        def work(connection: sqlite3.Connection) -> tuple[int, Change]:
            collection = collection_row(connection, name)
            if (collection.info.size, collection.info.distance) != (info.size, info.distance):
                raise CollectionNotFound(f"collection {name!r} was removed meanwhile, and another one made")
            if model is not None:
                require_model(collection.info, model)
                sql = "UPDATE collections SET model = ?, digest = ? WHERE id = ?"
                connection.execute(sql, (model.name, model.digest, collection.id))
            sql = f"DELETE FROM points WHERE collection = ? AND key IN {LISTED} RETURNING id"
            gone = connection.execute(sql, (collection.id, keys)).fetchall()
            last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'points'").fetchone() or (0,)
            rows = range(last[0] + 1, last[0] + 1 + len(encoded))
            version = collection.version + 1
            connection.executemany(
                "INSERT INTO points (id, collection, key, version, payload) VALUES (?, ?, ?, ?, ?)",
                (
                    (row, collection.id, key, version, payload)
                    for row, (key, payload, _) in zip(rows, encoded.values(), strict=True)
                ),
            )
            connection.executemany(
                "INSERT INTO vectors (id, vector) VALUES (?, ?)",
                ((row, vector.tobytes()) for row, (_, _, vector) in zip(rows, encoded.values(), strict=True)),
            )
            _count(connection, collection.id, version, len(rows) - len(gone))
            vectors = np.stack([vector for _, _, vector in encoded.values()]) if encoded else no_vectors(info.size)
            return collection.id, Change(version, row_ids(gone), np.arange(rows.start, rows.stop), vectors)

        return self._write(work, self._search.follow)[1].version

    def delete(
        self, name: str, *, ids: Sequence[PointId] = (), where: Filter | None = None, budget: Budget | None = None
    ) -> int:
        """Delete the points with these ids and those that the filter matches."""
        condition = None if where is None else compile_filter(where)
        keys = orjson.dumps([id_to_key(point) for point in ids]).decode()

        def work(connection: sqlite3.Connection) -> tuple[int, Change]:
            collection = collection_row(connection, name)
            sql = f"DELETE FROM points WHERE collection = ? AND key IN {LISTED} RETURNING id"
            gone = connection.execute(sql, (collection.id, keys)).fetchall()
            if condition is not None:
                sql = f"DELETE FROM points WHERE collection = ? AND {condition.text} RETURNING id"
                gone += connection.execute(sql, (collection.id, *condition.parameters)).fetchall()
            version = collection.version + 1
            _count(connection, collection.id, version, -len(gone))
            return collection.id, Change(version, row_ids(gone), row_ids([]), no_vectors(collection.info.size))

        return self._write(work, self._search.follow, frees=True, budget=budget)[1].version

    def scroll(
        self,
        name: str,
        *,
        limit: int,
        start: PointId | None = None,
        where: Filter | None = None,
        budget: Budget | None = None,
    ) -> Page:
        """Points in the order of their ids."""
        check_limit(limit)
        condition = compile_filter(where)
        first = "" if start is None else id_to_key(start)
        with self._reading(budget) as connection:
            collection = collection_row(connection, name)
            sql = f"{RECORD} WHERE collection = ? AND key >= ? AND {condition.text} ORDER BY key LIMIT ?"
            parameters = (collection.id, first, *condition.parameters, limit + 1)
            records = [record(*row) for row in connection.execute(sql, parameters)]
        return Page(records[:limit], records[limit].id if len(records) > limit else None)

    def count(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> int:
        """Number of points that the filter matches."""
        condition = compile_filter(where)
        with self._reading(budget) as connection:
            collection = collection_row(connection, name)
            if where is None:
                return collection.info.points
            sql = f"SELECT count(*) FROM points WHERE collection = ? AND {condition.text}"
            (points,) = connection.execute(sql, (collection.id, *condition.parameters)).fetchone()
            return int(points)

    def get(self, name: str, point: PointId) -> Record:
        """One point."""
        with self._reading() as connection:
            return point_record(connection, collection_row(connection, name), point)

    def query(self, name: str, query: Query, *, budget: Budget | None = None) -> list[Hit]:
        """The nearest points, best first, ties in the order of their ids."""
        check_limit(query.limit)
        if query.offset < 0 or query.limit + query.offset > MAX_REACH:
            raise InvalidRequest(f"offset: 0 or more, and limit + offset at most {MAX_REACH}")
        return self._search.query(name, query, budget)


def _count(connection: sqlite3.Connection, collection: int, version: int, more: int) -> None:
    sql = "UPDATE collections SET version = ?, points = points + ? WHERE id = ?"
    connection.execute(sql, (version, more, collection))


def _deleted(sql: str, collection: int, connection: sqlite3.Connection) -> int:
    return connection.execute(sql, (collection,)).rowcount


def _encoded(points: Sequence[Point], collection: CollectionInfo) -> Iterator[tuple[str, str, Vectors]]:
    """Key, payload and vector of each as they are stored; InvalidRequest about the first that cannot be."""
    vectors = as_vectors([point.vector for point in points], collection.size, collection.distance)
    for index, (point, vector) in enumerate(zip(points, vectors, strict=True)):
        place = "payload"
        try:
            payload = encode_payload(point.payload)
            place = "vector"
            if isinstance(vector, InvalidRequest):
                raise vector
        except InvalidRequest as error:
            fault = ItemFault("points", index, error.code, f"{place}: {error.detail}")
            raise InvalidRequest(f"points[{index}].{place}: {error.detail}", [fault]) from None
        yield id_to_key(point.id), payload, vector
