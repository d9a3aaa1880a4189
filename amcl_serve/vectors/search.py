"""Searches: a FAISS index for each collection, made at its first query, that follows what is written."""
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import numpy as np

from amcl_serve.errors import NotReady
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.filters import compile_filter
from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.index.exact import Found, scores
from amcl_serve.vectors.index.grower import Grower
from amcl_serve.vectors.index.live import LiveIndex
from amcl_serve.vectors.index.names import Names
from amcl_serve.vectors.index.parts import Parts
from amcl_serve.vectors.index.snapshots import Snapshot, Snapshots
from amcl_serve.vectors.sqlite import fields
from amcl_serve.vectors.sqlite.database import Database
from amcl_serve.vectors.sqlite.folder import read_ahead
from amcl_serve.vectors.sqlite.rows import (
    LISTED,
    CollectionRow,
    collection_row,
    distinct_ids,
    fetched,
    json_of,
    named_row,
    names_of,
    point_record,
    rows_of,
    vectors_of,
)
from amcl_serve.vectors.targets import query_vector, resolved
from amcl_serve.vectors.types import (
    NO_PAYLOAD,
    CollectionInfo,
    Distance,
    Examples,
    Hit,
    Query,
    Record,
    Rows,
    Vectors,
)
from amcl_serve.vectors.values import key_to_id

_log = logging.getLogger(__name__)
_LOADED = 512  # vectors read at once while an index is built


class Search:
    """The indexes of a database's collections. Safe to call from any thread; `follow` is the writer's."""

    def __init__(self, database: Database, threads: int, folder: Path) -> None:
        """`folder` is where graphs are kept between runs."""
        self._readers = database.readers
        self._reading = database.readers.reading
        self._writer = database.writer
        self._file = database.path
        self._collections: tuple[int, dict[str, CollectionRow]] = (-1, {})  # of so many commits, by name
        self._threads = threads
        self._indexes: dict[int, LiveIndex] = {}  # by the collection's row id
        self._lock = threading.Lock()  # of `_indexes`
        self._snapshots = Snapshots(folder)
        self._grower = Grower(self._made, self._keep, self._fetch, self._name)
        self._loader = threading.Thread(target=self._load_kept, name="collections-loader", daemon=True)
        self._loader.start()

    def query(self, name: str, query: Query, budget: Budget | None) -> list[Hit]:
        """As of the store."""
        found = self._remembered(name, query, budget)
        return self._looked_up(name, query, budget) if found is None else found

    def _remembered(self, name: str, query: Query, budget: Budget | None) -> list[Hit] | None:
        """The answer of what is in memory, and of the file the payloads alone; None where that does not suffice."""
        target = query.target
        if query.filter is not None or isinstance(target, int | UUID | Examples):
            return None
        if self._writer.published.locked():  # others may have read from the file what the index has not got yet
            return None
        collection = self._collection(name, budget)
        live, info = self._indexes.get(collection.id), collection.info
        if live is None or not live.made or info.index.coded:
            return None
        if budget is not None and budget.spent:
            raise budget.exceeded()
        vector = query_vector(info, target)
        with live.searching() as (index, _):
            if index.names is None:
                return None
            reach = query.limit + query.offset
            found = index.search(vector, reach, exact=query.exact, width=query.width, fetch=self._fetch)
            keys, versions = index.names.of(found.rows)
            chosen = _chosen(found, keys, query, info.distance)
            payloads = [NO_PAYLOAD] * len(chosen)
            if query.payload and chosen:
                payloads = self._payloads([int(found.rows[i]) for i in chosen])
                # A write that is on the disk by now waits for this search, before it is published.
                if self._writer.published.locked() or len(payloads) < len(chosen):  # of a collection that is dropped
                    return None
        of_points, vectors = list(found.scores), list(found.vectors)
        made = tuple.__new__  # which is what named tuples do, and twice as fast
        return [
            made(Hit, (of_points[i], made(Record, (key_to_id(keys[i]), versions[i], vectors[i], payload))))
            for i, payload in zip(chosen, payloads, strict=True)
        ]

    def _payloads(self, rows: list[int]) -> list[str]:
        """Those of these rows, as they are now; without those that are gone."""
        sql = f"SELECT id, payload FROM points WHERE id IN ({','.join('?' * len(rows))})"
        stored = dict(self._readers.rows(sql, rows))
        return [stored[row] for row in rows if row in stored]

    def _collection(self, name: str, budget: Budget | None) -> CollectionRow:
        """The collection of that name; of its row, what no write of points changes."""
        commits, known = self._collections
        if commits == self._writer.commits and name in known:
            return known[name]
        commits = self._writer.commits  # before the file is read: it may be further on, and is then read again
        with self._reading(budget) as connection:
            row = collection_row(connection, name)
        same, known = self._collections
        self._collections = (commits, {**known, name: row} if same == commits else {name: row})
        return row

    def _looked_up(self, name: str, query: Query, budget: Budget | None) -> list[Hit]:
        """The answer of the index and of one state of the file."""
        # The index may be a write ahead of what is read, or behind it; not while nothing is published.
        for gate in (contextlib.nullcontext(), contextlib.nullcontext(), self._writer.published):
            with gate, self._reading(budget) as connection:
                collection = collection_row(connection, name)
                info = collection.info
                stored = partial(point_record, connection, collection)
                without, vector = resolved(info, query.target, stored)
                reach = query.limit + query.offset + len(without)
                live = self._live(collection)
                if query.filter is None:
                    with live.searching() as (index, version):
                        if version != collection.version:
                            continue
                        fetch = partial(fetched, connection, info.size)
                        found = index.search(vector, reach, exact=query.exact, width=query.width, fetch=fetch)
                else:
                    condition = compile_filter(query.filter, fields.usable(connection, collection.id))
                    only = distinct_ids(connection.execute(*condition.rows_of(collection.id)))
                    found = _among(connection, live, vector, reach, only, query, info)
                return _ranked(connection, found, without, query, info.distance)
        raise NotReady("the collection's index is being made anew; try again soon")

    def _live(self, collection: CollectionRow) -> LiveIndex:
        """The collection's index, made of what is stored if there is none."""
        with self._lock:
            live = self._indexes.get(collection.id)
            if live is None:
                live = self._indexes[collection.id] = LiveIndex(collection.id)
        if live.made:
            return live
        try:
            live.build(partial(self._load, live, collection))
        except BaseException:
            self._forget(collection.id, live)
            raise
        return live

    def _load_kept(self) -> None:
        """Make the indexes of large collections, whose graphs are kept, before they are asked for."""
        for collection in self._snapshots.kept():
            try:
                with self._reading() as connection:
                    row = named_row(connection, collection)
                if row is not None:
                    self._live(row)
            except NotReady:  # closed meanwhile
                return
            except Exception:  # the first query says so too
                _log.exception("the index of a collection could not be made when it was opened")

    def _load(self, live: LiveIndex, collection: CollectionRow) -> tuple[Parts, int]:
        info = collection.info
        kept = self._snapshots.load(collection.id, info.size, info.distance, info.index)
        with self._reading() as connection:
            version = _version(connection, collection.id)
            if kept is not None and len(kept.rows):
                index = Parts(info.size, info.distance, self._threads, info.index)
                if 2 * 4 * info.points * info.size > self._file.stat().st_size:
                    threading.Thread(target=read_ahead, args=(self._file,), daemon=True).start()
                try:
                    if info.index.coded:
                        rows = rows_of(connection, collection.id)
                        index.restore_coded(kept, rows, partial(fetched, connection, info.size))
                    else:
                        index.restore(kept, _stored(connection, collection.id))
                except (ValueError, RuntimeError):
                    _log.exception("the kept graph of collection %d does not fit, and is made anew", collection.id)
                else:
                    live.kept = len(kept.rows)
                    return index, version
            index = Parts(info.size, info.distance, self._threads, info.index)
            index.names = names_of(connection, collection.id)
            for rows, vectors in _stored(connection, collection.id):
                index.add(rows, vectors)
        return index, version

    def _name(self, live: LiveIndex) -> None:
        """Read the names of the points of an index, which could be searched before."""

        def read() -> tuple[Names, int]:
            with self._reading() as connection:
                return names_of(connection, live.collection), _version(connection, live.collection)

        live.name(read)

    def _keep(self, live: LiveIndex) -> None:
        """Keep the graph of an index on the disk; where that cannot be, it is made anew in the next run."""
        with live.searching() as (index, _):
            if index.graph is None or index.graph.added == live.kept:
                return
            kept, said = Snapshot(*index.graph.links()), (index.size, index.distance, index.choice)
        try:
            self._snapshots.save(live.collection, *said, kept)
        except OSError as error:
            _log.warning("the graph of a collection could not be kept (%s)", error.strerror)
        live.kept = len(kept.rows)  # not tried over and over

    def _fetch(self, rows: Rows) -> tuple[Rows, Vectors]:
        """Those of the rows that there are, ascending, and their vectors, which no row ever changes."""
        with self._reading() as connection:
            return fetched(connection, 0, rows)

    def follow(self, written: tuple[int, Change]) -> None:
        """Bring the index up to a committed write; one that cannot follow is dropped and built anew when needed."""
        collection, change = written
        with self._lock:
            live = self._indexes.get(collection)
        if live is None:
            return
        try:
            live.follow(change)
        except (MemoryError, RuntimeError):  # the write is durable all the same
            self._forget(collection, live)
            _log.exception("an index could not follow a write; the next query builds it anew")

    def forget(self, collection: int) -> None:
        """Let go of a dropped collection's index."""
        with self._lock:
            self._indexes.pop(collection, None)
        self._snapshots.forget(collection)

    def in_graph(self, collection: int) -> int:
        """Number of vectors that a graph is searched for."""
        with self._lock:
            live = self._indexes.get(collection)
        if live is None or not live.made:
            return 0
        with live.searching() as (index, _):
            return index.in_graph

    def _made(self) -> list[LiveIndex]:
        with self._lock:
            return list(self._indexes.values())

    def close(self) -> None:
        """Let go of all of them; their graphs are kept."""
        self._grower.close()
        self._loader.join()
        for live in self._made():
            if live.made:
                self._keep(live)
        with self._lock:
            self._indexes.clear()

    def _forget(self, collection: int, live: LiveIndex) -> None:
        with self._lock:
            if self._indexes.get(collection) is live:
                del self._indexes[collection]


def _version(connection: sqlite3.Connection, collection: int) -> int:
    """That of a collection; 0 where it is gone."""
    (version,) = connection.execute("SELECT version FROM collections WHERE id = ?", (collection,)).fetchone() or (0,)
    return int(version)


def _stored(connection: sqlite3.Connection, collection: int) -> Iterator[tuple[Rows, Vectors]]:
    """The rows of a collection's points, ascending, and their vectors [N, size], part by part."""
    every = rows_of(connection, collection)
    for start in range(0, len(every), _LOADED):
        rows = every[start : start + _LOADED]
        first, last = int(rows[0]), int(rows[-1])
        if last - first < 2 * len(rows):  # nearly all in a row are its own: reading on is faster than looking up
            sql, wanted = "SELECT id, vector FROM vectors WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
            found = connection.execute(sql, wanted).fetchall()
            if len(found) > len(rows):
                own = set(rows.tolist())
                found = [each for each in found if each[0] in own]
            yield rows, vectors_of(vector for _, vector in found)
        else:
            sql = f"SELECT vector FROM vectors WHERE id IN {LISTED} ORDER BY id"
            yield rows, vectors_of(vector for (vector,) in connection.execute(sql, (json_of(rows),)))


def _among(
    connection: sqlite3.Connection,
    live: LiveIndex,
    vector: Vectors,
    count: int,
    only: Rows,
    query: Query,
    info: CollectionInfo,
) -> Found:
    """The best of the rows `only`, those among them that the index does not have, or no more, included."""
    with live.searching() as (index, _):
        fetch = partial(fetched, connection, info.size)
        found = index.search(vector, count, only, exact=query.exact, width=query.width, fetch=fetch)
        missing = index.lacks(only)
    if not len(missing):
        return found
    rows, others = fetch(missing)
    return found.joined(Found(rows, scores(vector, others, info.distance), others))


def _ranked(
    connection: sqlite3.Connection, found: Found, without: set[str], query: Query, distance: Distance
) -> list[Hit]:
    few = len(found.rows) <= 2 * query.limit  # most of them are answered: all at once
    sql = f"SELECT id, key{', version, payload' if few else ''} FROM points WHERE id IN {LISTED}"
    stored = {row: values for row, *values in connection.execute(sql, (json_of(found.rows),))}
    rows = found.rows.tolist()
    sql = "SELECT key, version, payload FROM points WHERE id = ?"
    hits = []
    for i in _chosen(found, [stored[row][0] for row in rows], query, distance, without):
        key, version, payload = stored[rows[i]] if few else connection.execute(sql, (rows[i],)).fetchone()
        hits.append(Hit(found.scores[i], Record(key_to_id(key), version, found.vectors[i], payload)))
    return hits


def _chosen(
    found: Found, keys: list[str], query: Query, distance: Distance, without: set[str] | frozenset[str] = frozenset()
) -> list[int]:
    """Which of what was found are answered, best first, ties in the order of their keys."""
    badness = found.scores.tolist() if distance == "Euclid" else (-found.scores).tolist()
    order = sorted(zip(badness, keys, range(len(keys)), strict=True))
    if without:
        order = [each for each in order if each[1] not in without]
    order = order[query.offset : query.offset + query.limit]
    if query.score_threshold is not None:
        worst = np.float32(query.score_threshold) * (1 if distance == "Euclid" else -1)
        order = [each for each in order if each[0] <= worst]
    return [i for _, _, i in order]
