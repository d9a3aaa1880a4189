"""A cache of reduced images: one SQLite file that runs and their worker processes share, bounded in bytes.

Pixels are kept as they are, uint8 RGB: what is read from here is to the bit what decoding gave. SQLite brings what a
cache among processes needs: a kill leaves an entry whole or not at all, writers take turns, the file has a bound.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

_VERSION = 1  # of the tables, and of the way images are reduced
_PAGE = 16 << 10  # bytes; an entry wastes half a page on average
_SPARED = 2 << 30  # bytes of the disk that are left to others, such as checkpoints
_PATIENCE = 2.0  # seconds to wait for another writer; after that an image is not kept this time

_TABLES = """
CREATE TABLE IF NOT EXISTS pixels (key BLOB PRIMARY KEY, width INTEGER, height INTEGER, crc INTEGER, rgb BLOB);
CREATE TABLE IF NOT EXISTS files (stamp BLOB PRIMARY KEY, key BLOB) WITHOUT ROWID;
"""
_OF_STAMP = "SELECT key, width, height, crc, rgb FROM files JOIN pixels USING (key) WHERE stamp = ?"
_OF_KEY = "SELECT key, width, height, crc, rgb FROM pixels WHERE key = ?"


class Cache:
    """The cache in `folder`, whose file takes `limit` bytes at most, whoever writes; full, it keeps what it has.

    Found by key (of a file's content) or by stamp (of its place, size and times). Nothing that goes wrong here ends a
    run: what cannot be read is missing, what cannot be written is left out. Other decoders have a file of their own.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        node = os.environ.get("GROUP_RANK", "0")  # a folder that several machines see: SQLite is for one
        suffix = "" if node == "0" else f"-{node}"
        self.path = folder / f"images-{_VERSION}-pillow{PIL.__version__}{suffix}.sqlite"
        self.limit = limit
        self._full = False
        self._opened: tuple[int, sqlite3.Connection] | None = None  # with the process that opened it
        self._inherited: list[sqlite3.Connection] = []  # after a fork: another's, neither to be used nor closed

    def check(self) -> None:
        """Make the folder and the file; ValueError says why that cannot be."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ValueError(f"the cache {folder} is a file; give a folder") from None
        except OSError as error:
            raise ValueError(f"the cache {folder} cannot be made: {error.strerror}") from None
        until = time.monotonic() + _PATIENCE
        while (fault := self._fault()) is not None:
            if not _is(fault, sqlite3.SQLITE_BUSY):
                raise ValueError(f"the cache {self.path} cannot be used ({fault}); delete it, or give another folder")
            if time.monotonic() > until:  # it is in use, and so usable
                return
            time.sleep(0.05)

    def _fault(self) -> sqlite3.Error | None:
        """What hinders writing."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            return error
        return None

    def find(self, stamp: bytes) -> Image.Image | None:
        """The image of the file that had this stamp."""
        return self._read(_OF_STAMP, stamp)

    def find_content(self, key: bytes, stamp: bytes) -> Image.Image | None:
        """The image of this content, which `find` finds by this stamp from now on."""
        image = self._read(_OF_KEY, key)
        if image is not None:
            self._write([("INSERT OR REPLACE INTO files VALUES (?, ?)", (stamp, key))])
        return image

    def keep(self, key: bytes, stamp: bytes, image: Image.Image) -> None:
        """Store an RGB image, if there is room."""
        try:
            if self._full or shutil.disk_usage(self.path.parent).free < _SPARED:
                return
        except OSError:  # the folder is gone
            return
        rgb = image.tobytes()
        entry = (key, *image.size, zlib.crc32(rgb), rgb)
        self._write(
            [
                ("INSERT OR REPLACE INTO pixels VALUES (?, ?, ?, ?, ?)", entry),
                ("INSERT OR REPLACE INTO files VALUES (?, ?)", (stamp, key)),
            ]
        )

    def room(self) -> int:
        """Bytes that can be added."""
        used = sum(path.stat().st_size for path in (self.path,) if path.exists())
        folder = next(path for path in self.path.absolute().parents if path.exists())
        return max(0, min(self.limit - used, shutil.disk_usage(folder).free - _SPARED))

    def close(self) -> None:
        """Leave the file; the next access opens it again. A process does so before it forks."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
            self._opened = None

    def _read(self, query: str, name: bytes) -> Image.Image | None:
        try:
            row = self._connection().execute(query, (name,)).fetchone()
            if row is None:
                return None
            key, width, height, crc, rgb = row
            if zlib.crc32(rgb) == crc and len(rgb) == 3 * width * height:
                return Image.frombytes("RGB", (width, height), rgb)
        except sqlite3.Error:
            return None
        self._write([("DELETE FROM pixels WHERE key = ?", (key,))])  # the disk has spoilt it
        return None

    def _write(self, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        """All or none."""
        try:
            connection = self._connection()
            with connection:  # commits, or rolls back
                connection.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    connection.execute(statement, values)
        except sqlite3.Error as error:
            self._full = self._full or _is(error, sqlite3.SQLITE_FULL)

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None or self._opened[0] != os.getpid():
            if self._opened is not None:
                self._inherited.append(self._opened[1])
            self._opened = os.getpid(), self._connect()
        return self._opened[1]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            connection.execute(f"PRAGMA max_page_count = {max(1, self.limit // _PAGE)}")
            connection.executescript(_TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def __getstate__(self) -> dict[str, Any]:
        """Without connections, which mean nothing in another process."""
        return {**self.__dict__, "_opened": None, "_inherited": []}


def _is(error: sqlite3.Error, code: int) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == code


def open_cache(folder: str, run: Path, gib: float) -> Cache | None:
    """The cache in `folder`, which must be usable (ValueError), or by default in the run's own; None of 0 GiB."""
    if not gib:
        return None
    cache = Cache(Path(folder).expanduser() if folder else run / "cache", round(gib * 2**30))
    if folder:
        cache.check()
    return cache
