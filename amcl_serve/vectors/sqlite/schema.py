"""The tables, how a file is opened that has them, and the way from each older version's to them."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from amcl_serve.errors import StorageError

SCHEMA_VERSION = 3
FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}  # the disk takes no more bytes
LOG_PAGES = 256  # after which the log is moved into the file
PAGE_BYTES = 16_384  # seven vectors of 512 numbers to a page; at SQLite's 4096 there is one, and half is air
PATIENCE = 10  # seconds that a writer waits for readers of the log

_log = logging.getLogger(__name__)

_BESIDE = """
CREATE TABLE thumbnails (
    id INTEGER PRIMARY KEY REFERENCES points (id) ON DELETE CASCADE,
    image BLOB NOT NULL
);
CREATE TABLE heads (
    id INTEGER PRIMARY KEY REFERENCES points (id) ON DELETE CASCADE,
    heads BLOB NOT NULL
);
"""

# A row of `points` never changes its vector: a point that is written again is a new row, and no id is given twice.
# So an index knows from ids alone what it has and what it lacks. Vectors are apart: a scan of payloads skips them.
_TABLES = (
    """
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    distance TEXT NOT NULL CHECK (distance IN ('Cosine', 'Dot', 'Euclid')),
    model TEXT,
    digest TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    points INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL DEFAULT 'auto' CHECK (kind IN ('auto', 'exact', 'hnsw', 'ivf')),
    precision TEXT NOT NULL DEFAULT 'float32' CHECK (precision IN ('float32', 'float16', 'int8')),
    thumbnails INTEGER NOT NULL DEFAULT 0,
    heads INTEGER NOT NULL DEFAULT 0,
    CHECK ((model IS NULL) = (digest IS NULL))
);
CREATE TABLE points (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id),
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    UNIQUE (collection, key)
);
CREATE INDEX points_of ON points (collection);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY REFERENCES points (id) ON DELETE CASCADE,
    vector BLOB NOT NULL
);
CREATE TABLE aliases (
    name TEXT PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE
);
CREATE TABLE fields (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    schema TEXT NOT NULL,
    filled INTEGER NOT NULL DEFAULT 0,
    UNIQUE (collection, name)
);
CREATE TABLE field_values (
    field INTEGER NOT NULL,
    kind TEXT NOT NULL,
    value NOT NULL,
    point INTEGER NOT NULL REFERENCES points (id) ON DELETE CASCADE,
    PRIMARY KEY (field, kind, value, point)
) WITHOUT ROWID;
CREATE INDEX field_values_of ON field_values (point);
"""
    + _BESIDE
)


def connect(path: Path, *, writes: bool = False) -> sqlite3.Connection:
    """A connection to a file that `prepare` has seen; whoever holds it serialises its calls. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    if writes:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {PAGE_BYTES * LOG_PAGES}")
    else:
        connection.execute("PRAGMA query_only = ON")
    return connection


def prepare(path: Path) -> None:
    """Make the file where there is none, and bring one of an older version up to date.

    Raises StorageError where it cannot be used; a file that could not be brought up to date is as it was.
    """
    try:
        version = version_of(path)
        unfinished = path.with_name(f"{path.name}.new")
        unfinished.unlink(missing_ok=True)  # left by a process that was killed
        if version == 0:
            create(path)
        while version and version < SCHEMA_VERSION:
            try:
                _MIGRATIONS[version](path, unfinished)
            finally:
                unfinished.unlink(missing_ok=True)
            version = version_of(path)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in FULL:
            raise StorageError(
                f"{path} could not be brought up to date: the disk is full; it is as it was, and needs up to "
                "its own size again while that is done"
            ) from None
        raise StorageError(
            f"{path} cannot be used as the collections' file ({error}); choose another data_dir"
        ) from None


def version_of(path: Path) -> int:
    """The version of the file's schema; 0 where there is no file, or an empty one.

    Raises StorageError for one that this program does not know, sqlite3.Error for what is no database.
    """
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION or version < 0:
        raise StorageError(
            f"{path} has schema version {version}, this version of amcl-serve reads up to {SCHEMA_VERSION}; "
            "serve it with the version that wrote it, or choose another data_dir"
        )
    return int(version)


def create(path: Path) -> None:
    """A new file with all tables, and nothing in them."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Both only before the first table: free pages can be given back to the disk, and pages hold several vectors.
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _from_1(path: Path, unfinished: Path) -> None:
    """Vectors stood in `points`, and a point that was written again kept its row.

    The new file is written beside the old one and then takes its place, in one step.
    """
    create(unfinished)
    with contextlib.closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("ATTACH ? AS old", (str(path),))
        (count,) = connection.execute("SELECT count(*) FROM old.points").fetchone()
        _log.info("bringing %s from schema 1 to %d: %d points", path, SCHEMA_VERSION, count)
        connection.executescript(
            """
            BEGIN;
            INSERT INTO collections (id, name, size, distance, model, digest, version, points)
                SELECT id, name, size, distance, model, digest, version,
                       (SELECT count(*) FROM old.points WHERE collection = old.collections.id)
                FROM old.collections;
            INSERT INTO points (id, collection, key, version, payload)
                SELECT id, collection, key, version, payload FROM old.points ORDER BY id;
            INSERT INTO vectors (id, vector) SELECT id, vector FROM old.points ORDER BY id;
            COMMIT;
            """
        )
        written = connection.execute("SELECT count(*) FROM points JOIN vectors USING (id)").fetchone()
        if written != (count,):
            raise StorageError(f"{path} has {count} points and {written[0]} could be read; it is as it was")
    # Its log must not be read with the new file.
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _from_2(path: Path, _: Path) -> None:
    """How a collection is searched could not be chosen, and nothing was kept beside points."""
    _log.info("bringing %s from schema 2 to 3", path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            f"""
            BEGIN IMMEDIATE;
            ALTER TABLE collections ADD COLUMN kind TEXT NOT NULL DEFAULT 'auto'
                CHECK (kind IN ('auto', 'exact', 'hnsw', 'ivf'));
            ALTER TABLE collections ADD COLUMN precision TEXT NOT NULL DEFAULT 'float32'
                CHECK (precision IN ('float32', 'float16', 'int8'));
            ALTER TABLE collections ADD COLUMN thumbnails INTEGER NOT NULL DEFAULT 0;
            ALTER TABLE collections ADD COLUMN heads INTEGER NOT NULL DEFAULT 0;
            {_BESIDE}
            PRAGMA user_version = 3;
            COMMIT;
            """
        )


_MIGRATIONS: dict[int, Callable[[Path, Path], None]] = {1: _from_1, 2: _from_2}
