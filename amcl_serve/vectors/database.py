"""The file of the collections: opened by one process at a time, written in transactions that are durable on return."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amcl_serve.errors import NotReady, StorageError, StorageFull

DATABASE_FILE = "collections.sqlite3"
LOCK_FILE = "collections.lock"
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
        try:
            self._claim(data_dir)
            self._connection = _open(data_dir / DATABASE_FILE)
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
                raise StorageFull("the server's disk is full: nothing of this request was stored") from None
            raise
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

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
    if version == 0:
        connection.executescript(_SCHEMA)
