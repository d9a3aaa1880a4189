"""A run of `embed --out` on disk, so that kill -9 costs the batch under way, and a power cut a few seconds more.

OUT.partial/
    files      one JSON line a file, in order: [name, bytes, mtime in ns], or [name] where it cannot be looked at
    run.json   what was asked for (model, precision, …); written last, and from then on the run has begun
    rows       room for the .npy header, then the rows of the embedded files, float32, each of the same size
    journal    one JSON line a batch: {"rows": n, "crc32": of their bytes, "skipped": [[place, code, reason], …]}

A batch's rows are written before its line. A killed process leaves such writes in order; a power cut does not, hence
the checksums. Resuming reads the journal up to the first line that is torn or does not fit its rows, and cuts off the
rest. A batch is recorded whole or not at all: a resumed run makes the same batches, and with them the same bits.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO, FileIO
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError, StartupError

SYNC_SECONDS = 5.0  # the most that a power cut can undo

Item = npt.NDArray[np.float32] | AmclError


class Skipped(NamedTuple):
    """A file that has no row."""

    code: str
    reason: str


class _Batch(NamedTuple):
    rows: int
    crc: int
    skipped: dict[int, Skipped]


class Unfinished:
    """The run that writes `out`; close it in any case, `finish` it when nothing remains."""

    def __init__(
        self,
        out: Path,
        asked: dict[str, Any],
        listing: Callable[[], Iterable[Path]],
        *,
        shape: tuple[int, ...],
        batch: int,
        restart: bool = False,
    ) -> None:
        """Begin the run or go on with it; rows are float32 of `shape`, recorded in batches of `batch` files.

        `asked` is what the rows depend on, as JSON, and `listing` gives the files. Raises StartupError where the run
        was begun with others (`restart` forgets it), or is under way, or the folder cannot be used.
        """
        self.out = out
        self.folder = out.with_name(out.name + ".partial")
        self.batch = batch
        self.done = self.rows = self.skipped = 0  # files recorded; of them with a row; and without
        self._shape = shape
        self._row_bytes = 4 * int(np.prod(shape))
        self._header_bytes = len(_npy_header((0, *shape)))
        self._lock = self._claim()
        try:
            begun = self._path("run.json").exists() and not restart
            self.total = self._checked(asked, listing) if begun else self._begin(asked, listing)
            self._journal, self._rows = self._recovered()
        except BaseException:
            if not self._path("run.json").exists():
                shutil.rmtree(self.folder)
            os.close(self._lock)
            raise
        self._synced = time.monotonic()

    def remaining(self) -> Iterator[list[Path]]:
        """The files not yet recorded, in batches."""
        with self._path("files").open("rb") as lines:
            names = (Path(json.loads(line)[0]) for line in islice(lines, self.done, None))
            while group := list(islice(names, self.batch)):
                yield group

    def record(self, items: Sequence[Item]) -> None:
        """Record what became of the next batch of `remaining`; once it returns, no kill can undo it."""
        data = b"".join(item.tobytes() for item in items if not isinstance(item, AmclError))
        skipped = [[i, item.code, item.detail] for i, item in enumerate(items) if isinstance(item, AmclError)]
        rows = len(items) - len(skipped)
        line = json.dumps({"rows": rows, "crc32": crc32(data), "skipped": skipped})
        _write(self._rows, data)
        _write(self._journal, line.encode() + b"\n")
        self._count(rows, len(skipped))
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def outcomes(self) -> Iterator[tuple[str, Skipped | None]]:
        """Every recorded file, in order, with why it was skipped or None."""
        with self._path("files").open("rb") as files, self._path("journal").open("rb") as journal:
            for line in journal:
                found = _parsed(line)
                assert found is not None, "a journal that was read before"
                for place in range(found.rows + len(found.skipped)):
                    yield json.loads(next(files))[0], found.skipped.get(place)

    def stored(self, rows: int) -> Iterator[npt.NDArray[np.float32]]:
        """The recorded rows, [n, *shape] with n at most `rows`."""
        with self._path("rows").open("rb") as stream:
            stream.seek(self._header_bytes)
            while data := stream.read(rows * self._row_bytes):
                yield np.frombuffer(data, np.float32).reshape(-1, *self._shape)

    def finish(self, write: Callable[[Path], None] | None = None) -> None:
        """Put the result in its place, whole: the rows as .npy, or the file that `write` makes; forget the run."""
        assert self.done == self.total
        if self._path("rows").exists():  # else it was put there by a run that was killed right after
            self._rows.seek(0)
            _write(self._rows, _npy_header((self.rows, *self._shape)))
            self._sync()
            result = self._path("rows")
            if write is not None:
                result = self._path("result")
                write(result)
                sync(result)
            result.replace(self.out)
        # Renamed first: a folder that is half deleted must not look like a run that has just begun.
        finished = self.out.with_name(self.out.name + ".finished")
        shutil.rmtree(finished, ignore_errors=True)
        self.folder.rename(finished)
        sync(self.out.parent)
        shutil.rmtree(finished)

    def close(self) -> None:
        """Close the files; what is recorded stays."""
        self._rows.close()
        self._journal.close()
        os.close(self._lock)

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _claim(self) -> int:
        try:
            self.folder.mkdir(exist_ok=True)
            lock = os.open(self._path("journal"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StartupError(f"{self.out} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StartupError(f"{self.out} is being written by another run") from None
        return lock

    def _begin(self, asked: dict[str, Any], listing: Callable[[], Iterable[Path]]) -> int:
        """Write down what is to be done; the number of files."""
        for name in ("run.json", "rows"):
            self._path(name).unlink(missing_ok=True)
        os.ftruncate(self._lock, 0)
        total = 0
        with self._path("files").open("wb") as stream:
            for path in listing():
                stream.write(_described(path))
                total += 1
        sync(self._path("files"))
        fresh = self._path("run.json.new")
        fresh.write_text(json.dumps({**asked, "total": total}))
        sync(fresh)
        fresh.replace(self._path("run.json"))
        sync(self.folder)
        return total

    def _checked(self, asked: dict[str, Any], listing: Callable[[], Iterable[Path]]) -> int:
        """Compare what was asked for and the files with those of the run's beginning; the number of files."""
        over = "; give the same again, or start over with --restart"
        begun = json.loads(self._path("run.json").read_text())
        for key, value in asked.items():
            if begun.get(key) != value:
                raise StartupError(f"{self.out} was begun with {key} {begun.get(key)}, not {value}{over}")
        with self._path("files").open("rb") as lines:
            for then, now in zip_longest(lines, (_described(path) for path in listing())):
                if then != now:
                    raise StartupError(
                        f"{self.out} was begun with other files: {_difference(then, now)}; start over with --restart"
                    )
        total: int = begun["total"]
        return total

    def _recovered(self) -> tuple[FileIO, FileIO]:
        """Count what is recorded and sound, cut off what is not; journal and rows, open at their ends."""
        rows, source = self._path("rows"), self._path("rows")
        if not rows.exists() and self.out.suffix == ".npy" and self.out.exists():
            source = self.out  # perhaps the finished rows, put there by a run that was killed right after
        journal_bytes = 0
        with self._path("journal").open("rb") as journal:
            if source.exists():
                with source.open("rb") as stream:
                    stream.seek(self._header_bytes)
                    for line in journal:
                        found = _parsed(line)
                        if found is None or not self._fits(found, stream):
                            break
                        journal_bytes += len(line)
                        self._count(found.rows, len(found.skipped))
        if source != rows:
            if self.done == self.total:
                return self._path("journal").open("ab", 0), self.out.open("rb", 0)
            journal_bytes = self.done = self.rows = self.skipped = 0
        os.truncate(self._path("journal"), journal_bytes)
        rows.touch()
        os.truncate(rows, self._header_bytes + self.rows * self._row_bytes)
        end = rows.open("r+b", 0)
        end.seek(0, os.SEEK_END)
        return self._path("journal").open("ab", 0), end

    def _fits(self, found: _Batch, rows: BinaryIO) -> bool:
        data = rows.read(found.rows * self._row_bytes)
        expected = min(self.batch, self.total - self.done)
        return (
            found.rows + len(found.skipped) == expected
            and len(data) == found.rows * self._row_bytes
            and crc32(data) == found.crc
        )

    def _count(self, rows: int, skipped: int) -> None:
        self.done += rows + skipped
        self.rows += rows
        self.skipped += skipped

    def _sync(self) -> None:
        for stream in (self._rows, self._journal):
            os.fsync(stream.fileno())
        self._synced = time.monotonic()


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(stream: FileIO, data: bytes) -> None:
    """Write all of `data`, past every buffer of this process; OSError where that cannot be."""
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def _described(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return json.dumps([str(path)]).encode() + b"\n"
    return json.dumps([str(path), found.st_size, found.st_mtime_ns]).encode() + b"\n"


def _difference(then: bytes | None, now: bytes | None) -> str:
    """How two lines of `_described` differ; None where one listing is longer."""
    old, new = (None if line is None else json.loads(line)[0] for line in (then, now))
    if old == new:
        return f"{new!r} has changed"
    return f"in the place of {old or 'none'!r} there is {new or 'none'!r} now"


def _parsed(line: bytes) -> _Batch | None:
    """A line of the journal; None if it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
        skipped = {int(place): Skipped(str(code), str(reason)) for place, code, reason in found["skipped"]}
        return _Batch(int(found["rows"]), int(found["crc32"]), skipped)
    except (ValueError, KeyError, TypeError):
        return None


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of float32; of the same length for any number of rows."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()
