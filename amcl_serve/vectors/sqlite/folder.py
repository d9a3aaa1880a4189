"""The folder of the collections: claimed by one process, with room kept on its disk for deleting."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from amcl_serve.errors import StorageError

DATABASE_FILE = "collections.sqlite3"
LOCK_FILE = "collections.lock"
RESERVE_FILE = "collections.reserve"  # deleting writes before it frees
RESERVE_BYTES = 1 << 20
_AHEAD = 1 << 20  # bytes read at once
_WORK_BYTES = 1 << 18  # that the file leaves free on the disk: the log of a small write


class Folder:
    """`data_dir`, made where there is none, and the lock on it."""

    def __init__(self, data_dir: Path) -> None:
        """Raises StorageError where the folder is in use or cannot be used."""
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"the data folder {data_dir} cannot be used ({error.strerror}); "
                "make it writable or choose another data_dir"
            ) from None
        self.database = data_dir / DATABASE_FILE
        self._reserve = data_dir / RESERVE_FILE
        try:
            self._claim(data_dir)
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

    def keep_room(self) -> None:
        """Take the room, as far as there is any; without it deleting may fail like all else."""
        with contextlib.suppress(OSError), self._reserve.open("ab") as stream:
            size = min(RESERVE_BYTES, os.fstat(stream.fileno()).st_size + self._free() - _WORK_BYTES)
            if size > 0:
                os.posix_fallocate(stream.fileno(), 0, size)

    def give_room(self) -> None:
        """Let the room go, until `keep_room`."""
        self._reserve.unlink(missing_ok=True)

    def has_room(self, size: int) -> bool:
        """Whether the disk takes a database of `size` bytes, whose new pages are first written to the log."""
        growth = size - self.database.stat().st_size
        return growth <= 0 or 2 * growth + _WORK_BYTES <= self._free()

    def _free(self) -> int:
        found = os.statvfs(self.database.parent)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Let the folder go; again is no error."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def read_ahead(path: Path) -> None:
    """Bring a file into the system's cache, in its order, ahead of who reads it page by page."""
    buffer = bytearray(_AHEAD)
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
