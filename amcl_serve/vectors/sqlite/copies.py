"""Snapshots: copies of one collection, each a SQLite file of its own under `data_dir/snapshots/COLLECTION/`.

    photos-2026-12-01-08-30-00-1f3a.snapshot           tables as in schema.py, with one collection
    photos-2026-12-01-08-30-00-1f3a.snapshot.checksum  SHA-256 of it, hexadecimal

A copy is one state of the collection, whatever is written meanwhile. Recovering reads it into a collection beside,
which takes the name in one step.
"""
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest, SnapshotNotFound, StorageFull
from amcl_serve.vectors.sqlite.rows import DROPPED, MAKING, CollectionRow
from amcl_serve.vectors.sqlite.schema import FULL, SCHEMA_VERSION, create, prepare, version_of
from amcl_serve.vectors.types import CollectionSnapshot

SUFFIX = ".snapshot"
PIECE = 2048  # points read into a collection in a transaction, between which others write

_CHECKSUM = ".checksum"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.snapshot")
_COLLECTION = "size, distance, model, digest, version, points, kind, precision, thumbnails, heads"
_OF_POINTS = {
    "vectors": "id, vector",
    "thumbnails": "id, image",
    "heads": "id, heads",
}  # tables with at most one row to a point, by its id
_NO_ROOM = "the disk has no room for a snapshot; delete others, or points"


class Copies:
    """The folder of the snapshots."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for unfinished in folder.glob("*/*.new*"):  # left by a process that was killed
            unfinished.unlink(missing_ok=True)

    def write(self, source: Path, collection: CollectionRow) -> CollectionSnapshot:
        """Copy a collection of the database `source`; StorageFull where the disk has no room."""
        folder = self.folder / collection.info.name
        name = f"{collection.info.name}-{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}-{secrets.token_hex(2)}{SUFFIX}"
        unfinished = folder / f"{name}.new"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            create(unfinished)
            _copy(source, unfinished, collection.id)
            checksum = _digest(unfinished)
            (folder / f"{name}{_CHECKSUM}").write_text(checksum)
            unfinished.replace(folder / name)
            _sync(folder)
        except OSError as error:
            raise StorageFull(f"{_NO_ROOM} ({error.strerror})") from None
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in FULL:
                raise StorageFull(_NO_ROOM) from None
            raise
        finally:
            for path in folder.glob(f"{name}.new*"):
                path.unlink(missing_ok=True)
        return self._described(folder / name)

    def of(self, collection: str) -> list[CollectionSnapshot]:
        """Those of a collection, the oldest first."""
        found = [self._described(path) for path in (self.folder / collection).glob(f"*{SUFFIX}")]
        return sorted(found, key=lambda each: (each.created, each.name))

    def path(self, collection: str, name: str) -> Path:
        """The file of a snapshot; raises SnapshotNotFound."""
        path = self.folder / collection / name
        if not _NAME.fullmatch(name) or not path.is_file():
            raise SnapshotNotFound(f"collection {collection!r} has no snapshot {name[:64]!r}")
        return path

    def delete(self, collection: str, name: str) -> None:
        """Remove a snapshot; raises SnapshotNotFound."""
        path = self.path(collection, name)
        path.unlink()
        path.with_name(f"{name}{_CHECKSUM}").unlink(missing_ok=True)

    @contextmanager
    def reading(self, path: Path, checksum: str | None) -> Iterator[sqlite3.Connection]:
        """A connection to a snapshot, whose only collection is read through `pieces`.

        InvalidRequest where it is damaged, or not what `checksum` (SHA-256, hexadecimal) says.
        """
        beside = path.with_name(f"{path.name}{_CHECKSUM}")
        said = checksum or (beside.read_text().strip() if beside.exists() else None)
        if said is not None and said.lower() != _digest(path):
            raise InvalidRequest(f"the snapshot {path.name} is damaged, or another: its SHA-256 is not {said[:64]}")
        copy = path.with_name(f"{path.name}.{secrets.token_hex(2)}.new")
        try:
            if version_of(path) < SCHEMA_VERSION:
                shutil.copyfile(path, copy)
                prepare(copy)
            file = f"{(copy if copy.exists() else path).absolute().as_uri()}?mode=ro"
            opened = sqlite3.connect(file, uri=True, isolation_level=None, check_same_thread=False)
            with contextlib.closing(opened) as connection:
                connection.execute("PRAGMA trusted_schema = OFF")
                if connection.execute("SELECT count(*) FROM collections").fetchone() != (1,):
                    raise InvalidRequest(f"{path.name} is not the snapshot of one collection")
                yield connection
        except OSError as error:
            raise StorageFull(f"{_NO_ROOM} ({error.strerror})") from None
        except sqlite3.DatabaseError as error:
            raise InvalidRequest(f"the snapshot {path.name} cannot be read ({error})") from None
        finally:
            for left in path.parent.glob(f"{copy.name}*"):
                left.unlink(missing_ok=True)

    def _described(self, path: Path) -> CollectionSnapshot:
        stat = path.stat()
        beside = path.with_name(f"{path.name}{_CHECKSUM}")
        checksum = beside.read_text().strip() if beside.exists() else None
        return CollectionSnapshot(path.name, datetime.fromtimestamp(stat.st_mtime, UTC), stat.st_size, checksum)


def begin(connection: sqlite3.Connection, copied: sqlite3.Connection) -> int:
    """In the writer: make a hidden, empty collection like the snapshot's; its number."""
    row = copied.execute(f"SELECT {_COLLECTION} FROM collections").fetchone()
    sql = f"INSERT INTO collections (name, {_COLLECTION}) VALUES (?{', ?' * len(row)}) RETURNING id"
    (collection,) = connection.execute(sql, (f"{MAKING}{secrets.token_hex(8)}", *row)).fetchone()
    for name, schema in copied.execute("SELECT name, schema FROM fields"):
        sql = "INSERT INTO fields (collection, name, schema) VALUES (?, ?, ?)"
        connection.execute(sql, (collection, name, schema))
    return int(collection)


def take(connection: sqlite3.Connection, copied: sqlite3.Connection, collection: int, after: int) -> int | None:
    """In the writer: read the next points after the snapshot's number `after`; the last one's, None at the end."""
    sql = "SELECT id, key, version, payload FROM points WHERE id > ? ORDER BY id LIMIT ?"
    rows = copied.execute(sql, (after, PIECE)).fetchall()
    if not rows:
        return None
    (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'points'").fetchone() or (0,)
    numbers = {old: last + 1 + place for place, (old, *_) in enumerate(rows)}
    connection.executemany(
        "INSERT INTO points (id, collection, key, version, payload) VALUES (?, ?, ?, ?, ?)",
        ((numbers[old], collection, *values) for old, *values in rows),
    )
    for table, columns in _OF_POINTS.items():
        sql = f"SELECT {columns} FROM {table} JOIN points USING (id) WHERE id BETWEEN ? AND ?"
        found = copied.execute(sql, (rows[0][0], rows[-1][0]))
        marks = ", ".join("?" * len(found.description))
        connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", ((numbers[old], *values) for old, *values in found)
        )
    return int(rows[-1][0])


def finish(connection: sqlite3.Connection, collection: int, name: str) -> None:
    """In the writer: give a collection that was read its name. What had it before is dropped, and its aliases stand for
    the new one. InvalidRequest where points are missing.
    """
    if connection.execute("SELECT 1 FROM aliases WHERE name = ?", (name,)).fetchone():
        raise CollectionExists(f"{name!r} is an alias of another collection")
    sql = "SELECT points, (SELECT count(*) FROM points JOIN vectors USING (id) WHERE collection = ?1)"
    wanted, found = connection.execute(f"{sql} FROM collections WHERE id = ?1", (collection,)).fetchone()
    if wanted != found:
        raise InvalidRequest(f"the snapshot should have {wanted} points and has {found}")
    for (old,) in connection.execute("SELECT id FROM collections WHERE name = ?", (name,)).fetchall():
        connection.execute("UPDATE aliases SET collection = ? WHERE collection = ?", (collection, old))
        give_up(connection, old)
    connection.execute("UPDATE collections SET name = ? WHERE id = ?", (name, collection))


def give_up(connection: sqlite3.Connection, collection: int) -> None:
    """In the writer: let a collection be one that is gone."""
    connection.execute(f"UPDATE collections SET name = '{DROPPED}' || id WHERE id = ?", (collection,))


def _copy(source: Path, target: Path, collection: int) -> None:
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("ATTACH ? AS source", (str(source),))
        connection.execute("BEGIN")  # the source is read as it is at the first statement
        sql = f"INSERT INTO collections (id, name, {_COLLECTION}) SELECT 1, name, {_COLLECTION} FROM source.collections"
        if not connection.execute(f"{sql} WHERE id = ?", (collection,)).rowcount:
            raise CollectionNotFound("the collection was removed meanwhile")
        columns = "id, key, version, payload"
        sql = f"INSERT INTO points (collection, {columns}) SELECT 1, {columns} FROM source.points"
        connection.execute(f"{sql} WHERE collection = ? ORDER BY id", (collection,))
        for table, columns in _OF_POINTS.items():
            inner = "(SELECT id FROM source.points WHERE collection = ?)"
            sql = (
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM source.{table} WHERE id IN {inner} ORDER BY id"
            )
            connection.execute(sql, (collection,))
        sql = "INSERT INTO fields (collection, name, schema) SELECT 1, name, schema FROM source.fields"
        connection.execute(f"{sql} WHERE collection = ?", (collection,))
        connection.execute("COMMIT")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
