"""The file of the collections: opened by one process at a time, written in transactions that are durable on return."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from amcl_serve.errors import NotReady, StorageError, StorageFull

DATABASE_FILE = "collections.sqlite3"
LOCK_FILE = "collections.lock"
RESERVE_FILE = "collections.reserve"  # room on the disk for deleting, which writes before it frees
RESERVE_BYTES = 2 << 20
_LOG_PAGES = 256  # of 4 KiB, after which the log is moved into the file: what the room has to take in
SCHEMA_VERSION = 1

# `payload` comes before `vector`: a scan of payloads then skips the vectors' overflow pages.
_SCHEMA = f"""
BEGIN;
CREATE TABLE collections (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    distance TEXT NOT NULL CHECK (distance IN ('Cosine', 'Dot', 'Euclid')),
    model TEXT,
    digest TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    CHECK ((model IS NULL) = (digest IS NULL))
);
CREATE TABLE points (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (collection, key)
);
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

# What SQLite says when the disk, a quota or a file-size limit takes no more bytes.
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


Value = TypeVar("Value")


class Database:
    """One connection to `data_dir`/collections.sqlite3 and the lock on the folder; the caller serialises the calls."""

    def __init__(self, data_dir: Path) -> None:
        """Raises StorageError where the folder is in use, cannot be used, or holds another version's file."""
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"the data folder {data_dir} cannot be used ({error.strerror}); "
                "make it writable or choose another data_dir"
            ) from None
        self._connection: sqlite3.Connection | None = None
        self._reserve = data_dir / RESERVE_FILE
        try:
            self._claim(data_dir)
            self._connection = _open(data_dir / DATABASE_FILE)
            self._keep_room()
        except BaseException:
            self.close()
            raise

    def _claim(self, data_dir: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StorageError(
                f"the data folder {data_dir} is in use by another server (process {owner}); "
                "stop that one or choose another data_dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def read(self) -> sqlite3.Connection:
        """The connection; raises NotReady after `close`."""
        if self._connection is None:
            raise NotReady("the collections are closed: the server is stopping")
        return self._connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed and synced when the block ends, rolled back on any error.

        Raises StorageFull where the disk takes no more.
        """
        connection = self.read()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in _FULL:
                raise StorageFull(
                    "the server's disk is full: nothing of this request was stored; "
                    "deleting points or collections still works, and makes room for others"
                ) from None
            raise
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def free(self, work: Callable[[sqlite3.Connection], Value]) -> Value:
        """`work`, which deletes, in a transaction as of `write`; where the disk is full, in the room kept for that."""
        try:
            with self.write() as connection:
                return work(connection)
        except StorageFull:
            self._reserve.unlink(missing_ok=True)
            self._checkpoint()
            try:
                with self.write() as connection:
                    return work(connection)
            finally:
                self._checkpoint()
                self._keep_room()

    def _keep_room(self) -> None:
        """Take the room, as far as there is any; without it deleting may fail like all else."""
        with contextlib.suppress(OSError), self._reserve.open("ab") as stream:
            os.posix_fallocate(stream.fileno(), 0, RESERVE_BYTES)

    def _checkpoint(self) -> None:
        """Move the log into the file, whose freed pages are used again, and give the log's room back."""
        with contextlib.suppress(sqlite3.Error):
            self.read().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file and let the folder go; again is no error."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error:
        raise StorageError(f"{path} cannot be opened; check its owner and permissions") from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StorageError(
            f"{path} cannot be used as the collections' file ({error}); choose another data_dir"
        ) from None
    except StorageError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise StorageError(
            f"{path} has schema version {version}, this version of amcl-serve reads {SCHEMA_VERSION}; "
            "serve it with the version that wrote it, or choose another data_dir"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {4096 * _LOG_PAGES}")
    if version == 0:
        connection.executescript(_SCHEMA)
