"""Small files that are there whole or not at all, whatever ends the process."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from amcl_serve.errors import StorageFull

UNFINISHED = ".new"  # how the name of a file ends that is not whole


def write_whole(path: Path, data: bytes) -> None:
    """Let `path` hold `data`, durably, in one step. StorageFull where the disk has no room, else OSError."""
    unfinished = path.with_name(path.name + UNFINISHED)
    with full_disk_said():
        try:
            with unfinished.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(path)
            sync_names(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


def sync_names(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def full_disk_said() -> Iterator[None]:
    """A full disk in here becomes StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull("the server's disk is full: nothing was kept") from None
