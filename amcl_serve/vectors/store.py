"""The default store: SQLite holds the truth, exact FAISS indexes in memory follow it.

Statements are put together from fixed pieces alone (here and in filters.py); every value is a parameter.
"""
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest, NotReady, StorageFull
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.encoding import encoded
from amcl_serve.vectors.filters import Sql, compile_filter
from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.search import Search
from amcl_serve.vectors.sqlite import aliases, beside, copies, fields
from amcl_serve.vectors.sqlite import points as changes
from amcl_serve.vectors.sqlite.copies import Copies
from amcl_serve.vectors.sqlite.database import Database
from amcl_serve.vectors.sqlite.rows import (
    DROPPED,
    LISTED,
    MAKING,
    RECORD,
    CollectionRow,
    collection_row,
    keys_of,
    point_record,
    record,
)
from amcl_serve.vectors.sqlite.scan import SqliteScan
from amcl_serve.vectors.types import (
    USUAL_INDEX,
    Alias,
    Chosen,
    CollectionInfo,
    CollectionSnapshot,
    CreateAlias,
    DeleteAlias,
    Distance,
    Field,
    Filter,
    Hit,
    IndexChoice,
    ModelRef,
    Order,
    Page,
    Point,
    PointId,
    Query,
    Record,
    RenameAlias,
    Vectors,
    require_model,
)
from amcl_serve.vectors.values import MAX_SIZE, check_limit, check_name, check_reach, id_to_key

_NAMES = f"SELECT name FROM collections WHERE name NOT LIKE '{DROPPED}%' ORDER BY name"
_GONE = f"SELECT id FROM collections WHERE name LIKE '{DROPPED}%' AND name NOT LIKE '{MAKING}%'"
_UNFINISHED = f"UPDATE collections SET name = '{DROPPED}' || id WHERE name LIKE '{MAKING}%'"
SNAPSHOTS = "snapshots"  # folder of the copies of collections
GRAPHS = "graphs"  # folder of the graphs, which are made anew where it is gone
_PIECES = (4096, 16)  # points deleted in a transaction; the second where the disk is full, whose log the room takes


class SqliteStore:
    """A VectorStore in one folder. One thread writes; any number read, each a state that was, with its own search."""

    def __init__(self, data_dir: Path, *, search_threads: int = 1) -> None:
        """Raises StorageError where the folder cannot be used or another process uses it."""
        self._database = Database(data_dir)
        self._reading = self._database.readers.reading
        self._write = self._database.writer.write
        self._search = Search(self._database, search_threads, data_dir / GRAPHS)
        self._copies = Copies(data_dir / SNAPSHOTS)
        with contextlib.suppress(StorageFull):  # what a drop or a recovery was killed at
            self._write(lambda connection: connection.execute(_UNFINISHED))
            self._purge()
            self._fill()

    def close(self) -> None:
        """Let go of the folder; every later call raises NotReady."""
        self._search.close()
        self._database.close()

    def check(self) -> None:
        """NotReady where it cannot be written, StorageDamaged where it cannot be read."""
        if not self._database.writer.running:
            raise NotReady("the collections cannot be written")
        self.names()

    def create(
        self,
        name: str,
        size: int,
        distance: Distance,
        *,
        index: IndexChoice = USUAL_INDEX,
        thumbnails: bool = False,
        heads: bool = False,
    ) -> None:
        """Make an empty collection, which keeps what is said of its images."""
        check_name(name)
        if not 1 <= size <= MAX_SIZE:
            raise InvalidRequest(f"vectors.size: 1 to {MAX_SIZE}, not {size}")
        if index.kind == "exact" and index.precision != "float32":
            raise InvalidRequest(f"index: an exact search has float32, not {index.precision}; take hnsw or ivf")

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone():
                raise CollectionExists(f"collection {name!r} exists already")
            if connection.execute("SELECT 1 FROM aliases WHERE name = ?", (name,)).fetchone():
                raise CollectionExists(f"{name!r} is an alias of another collection")
            sql = (
                "INSERT INTO collections (name, size, distance, kind, precision, thumbnails, heads) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            connection.execute(sql, (name, size, distance, index.kind, index.precision, thumbnails, heads))

        self._write(work)

    def drop(self, name: str) -> bool:
        """Remove a collection with its points."""

        def work(connection: sqlite3.Connection) -> bool:
            sql = f"UPDATE collections SET name = '{DROPPED}' || id WHERE name = ? RETURNING id"
            rows = connection.execute(sql, (name,)).fetchall()
            connection.executemany("DELETE FROM aliases WHERE collection = ?", rows)
            return bool(rows)

        dropped = self._write(work, frees=True)
        self._purge()
        return dropped

    def _purge(self) -> None:
        """Delete what has been dropped, in pieces, between which others write."""
        with self._reading() as connection:
            found = connection.execute(_GONE).fetchall()
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
            collection = collection_row(connection, name)
        return replace(collection.info, in_graph=self._search.in_graph(collection.id))

    def size(self, name: str) -> int:
        """Components of the collection's vectors."""
        return self.describe(name).size

    def upsert(self, name: str, points: Sequence[Point], *, model: ModelRef | None = None) -> int:
        """Write all points or none; of points with the same id the last one stays."""
        with self._reading() as connection:
            info = collection_row(connection, name).info
        stored = dict(encoded(points, info))
        kept = beside.kept(points, info)

        def work(connection: sqlite3.Connection, collection: CollectionRow) -> Change:
            if _kind(collection.info) != _kind(info):
                raise CollectionNotFound(f"collection {name!r} was removed meanwhile, and another one made")
            if model is not None:
                require_model(collection.info, model)
            change = changes.put(connection, collection, stored, model)
            beside.put(connection, change.added, kept)
            return change

        return self._change(name, work)

    def delete(self, name: str, chosen: Chosen, *, budget: Budget | None = None) -> int:
        """Delete points."""
        return self._change(name, partial(changes.remove, chosen=chosen), frees=True, budget=budget)

    def set_payload(
        self,
        name: str,
        chosen: Chosen,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        budget: Budget | None = None,
    ) -> int:
        """Give each point these members; with `key`, in the object that stands there."""
        work = partial(changes.set_payload, chosen=chosen, payload=payload, key=key)
        return self._change(name, work, budget=budget)

    def overwrite_payload(
        self, name: str, chosen: Chosen, payload: Mapping[str, Any], *, budget: Budget | None = None
    ) -> int:
        """Give each point this payload in place of its own."""
        work = partial(changes.overwrite_payload, chosen=chosen, payload=payload)
        return self._change(name, work, budget=budget)

    def delete_payload(self, name: str, chosen: Chosen, keys: Sequence[str], *, budget: Budget | None = None) -> int:
        """Take these keys out of each point's payload."""
        return self._change(name, partial(changes.delete_payload, chosen=chosen, keys=keys), budget=budget)

    def _change(
        self,
        name: str,
        work: Callable[[sqlite3.Connection, CollectionRow], Change],
        *,
        frees: bool = False,
        budget: Budget | None = None,
    ) -> int:
        """Write; the index of the collection follows before this returns the operation's number."""

        def write(connection: sqlite3.Connection) -> tuple[int, Change]:
            collection = collection_row(connection, name)
            return collection.id, work(connection, collection)

        return self._write(write, self._search.follow, frees=frees, budget=budget)[1].version

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
        first = "" if start is None else id_to_key(start)
        with self._reading(budget) as connection:
            collection, condition = _filtered(connection, name, where)
            sql = f"{RECORD} WHERE collection = ? AND key >= ? AND {condition.text} ORDER BY key LIMIT ?"
            parameters = (collection.id, first, *condition.parameters, limit + 1)
            records = [record(*row) for row in connection.execute(sql, parameters)]
        return Page(records[:limit], records[limit].id if len(records) > limit else None)

    def scroll_by(
        self, name: str, order: Order, *, limit: int, where: Filter | None = None, budget: Budget | None = None
    ) -> list[tuple[Record, float]]:
        """Points in the order of a number in their payload, with that number; one that has several comes once for each.

        InvalidRequest unless the field is indexed as one of numbers.
        """
        check_limit(limit)
        with self._reading(budget) as connection:
            collection, condition = _filtered(connection, name, where)
            field = fields.usable(connection, collection.id).get(order.key)
            if field is None:
                raise InvalidRequest(
                    f"order_by: {order.key!r} has no index; make one of integers or floats (PUT …/index), "
                    "and wait until it is filled"
                )
            way, beyond = ("DESC", "<=") if order.descending else ("ASC", ">=")
            started = "" if order.start is None else f"AND value {beyond} ?"
            sql = (
                "SELECT key, version, vector, payload, value FROM field_values JOIN points ON points.id = point "
                f"JOIN vectors USING (id) WHERE field = ? AND kind = 'number' {started} AND {condition.text} "
                f"ORDER BY value {way}, key LIMIT ?"
            )
            first = () if order.start is None else (order.start,)
            rows = connection.execute(sql, (field, *first, *condition.parameters, limit))
            return [(record(*row[:4]), row[4]) for row in rows]

    def sample(
        self, name: str, *, limit: int, where: Filter | None = None, budget: Budget | None = None
    ) -> list[Record]:
        """Points at random."""
        check_limit(limit)
        with self._reading(budget) as connection:
            collection, condition = _filtered(connection, name, where)
            inner = (
                f"SELECT id FROM points WHERE {condition.of_collection} AND {condition.text} ORDER BY random() LIMIT ?"
            )
            rows = connection.execute(f"{RECORD} WHERE id IN ({inner})", (collection.id, *condition.parameters, limit))
            return [record(*row) for row in rows]

    def count(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> int:
        """Number of points that the filter matches."""
        with self._reading(budget) as connection:
            collection, condition = _filtered(connection, name, where)
            if where is None:
                return collection.info.points
            sql = f"SELECT count(*) FROM points WHERE {condition.of_collection} AND {condition.text}"
            (points,) = connection.execute(sql, (collection.id, *condition.parameters)).fetchone()
            return int(points)

    def scan(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> SqliteScan:
        """All points that the filter matches, to be read bit by bit."""
        return SqliteScan(self._database.readers, name, where, budget or Budget())

    def get(self, name: str, point: PointId) -> Record:
        """One point."""
        with self._reading() as connection:
            return point_record(connection, collection_row(connection, name), point)

    def retrieve(self, name: str, points: Sequence[PointId]) -> list[Record]:
        """Those of the points that there are, in the order of their ids."""
        with self._reading() as connection:
            collection = collection_row(connection, name)
            sql = f"{RECORD} WHERE collection = ? AND key IN {LISTED} ORDER BY key"
            return [record(*row) for row in connection.execute(sql, (collection.id, keys_of(points)))]

    def thumbnail(self, name: str, point: PointId) -> bytes | None:
        """A point's, if it has one."""
        with self._reading() as connection:
            return beside.thumbnail(connection, collection_row(connection, name), point)

    def heads(self, name: str, points: Sequence[PointId]) -> dict[PointId, Vectors]:
        """Of those of the points that have them, each float32 [C · d']."""
        with self._reading() as connection:
            return beside.heads(connection, collection_row(connection, name), points)

    def aliases(self, name: str | None = None) -> list[Alias]:
        """Those of one collection, or of all."""
        with self._reading() as connection:
            return aliases.aliases(connection, name)

    def change_aliases(self, actions: Sequence[CreateAlias | DeleteAlias | RenameAlias]) -> None:
        """All of them at once, or none."""
        self._write(partial(aliases.change, actions=actions))

    def fields(self, name: str) -> list[Field]:
        """The indexed fields of the payloads, by name."""
        with self._reading() as connection:
            return fields.described(connection, collection_row(connection, name).id)

    def index_field(self, name: str, field: str, schema: str) -> int:
        """Index a field; it is filled in pieces, between which others write, and used from then on."""

        def declare(connection: sqlite3.Connection) -> tuple[int, int, bool]:
            row = collection_row(connection, name)
            return row.id, row.version, fields.declare(connection, row.id, field, schema)

        collection, version, empty = self._write(declare)
        if empty:
            self._fill_field(collection, field)
        return version

    def _fill(self) -> None:
        """Go on with what a process was killed at."""
        with self._reading() as connection:
            unfilled = connection.execute("SELECT collection, name FROM fields WHERE NOT filled").fetchall()
        for collection, name in unfilled:
            self._fill_field(collection, name)

    def _fill_field(self, collection: int, name: str) -> None:
        last: int | None = 0
        while last is not None:
            last = self._write(partial(fields.fill, collection=collection, name=name, after=last))

    def forget_field(self, name: str, field: str) -> int:
        """Index it no longer, if it was."""

        def forget(connection: sqlite3.Connection) -> int:
            row = collection_row(connection, name)
            fields.undeclare(connection, row.id, field)
            return row.version

        return self._write(forget)

    def create_snapshot(self, name: str) -> CollectionSnapshot:
        """Copy the collection, as it is now, into a file."""
        with self._reading() as connection:
            collection = collection_row(connection, name)
        return self._copies.write(self._database.path, collection)

    def snapshots(self, name: str) -> list[CollectionSnapshot]:
        """Those of the collection, the oldest first."""
        return self._copies.of(self.describe(name).name)

    def snapshot_file(self, name: str, snapshot: str) -> Path:
        """Where a snapshot lies."""
        return self._copies.path(self.describe(name).name, snapshot)

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove it."""
        self._copies.delete(self.describe(name).name, snapshot)

    def recover(self, name: str, snapshot: str, *, of: str | None = None, checksum: str | None = None) -> None:
        """Let the collection be what a snapshot says; it is read beside what there is, which it then replaces."""
        for each in (name, of or name):
            check_name(each)
        with self._copies.reading(self._copies.path(of or name, snapshot), checksum) as copied:
            collection = self._write(partial(copies.begin, copied=copied))
            try:
                last: int | None = 0
                while last is not None:
                    last = self._write(partial(copies.take, copied=copied, collection=collection, after=last))
                self._write(partial(copies.finish, collection=collection, name=name), frees=True)
            except BaseException:
                self._write(partial(copies.give_up, collection=collection), frees=True)
                raise
            finally:
                self._purge()
        self._fill()

    def query(self, name: str, query: Query, *, budget: Budget | None = None) -> list[Hit]:
        """The nearest points, best first, ties in the order of their ids."""
        check_reach(query)
        return self._search.query(name, query, budget)


def _filtered(connection: sqlite3.Connection, name: str, where: Filter | None) -> tuple[CollectionRow, Sql]:
    collection = collection_row(connection, name)
    return collection, compile_filter(where, fields.usable(connection, collection.id))


def _kind(info: CollectionInfo) -> tuple[object, ...]:
    return info.size, info.distance, info.thumbnails, info.heads


def _deleted(sql: str, collection: int, connection: sqlite3.Connection) -> int:
    return connection.execute(sql, (collection,)).rowcount
