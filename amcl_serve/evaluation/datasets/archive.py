"""An archive of images that somebody sent: opened with suspicion, extracted into one folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from amcl_serve.errors import InvalidRequest, TooLarge
from amcl_serve.evaluation.datasets.folder import Folder, open_folder
from amcl_serve.evaluation.datasets.pairs_file import open_pairs

_CHUNK = 1024 * 1024
PAIRS = ("pairs.csv", "pairs.jsonl")


@dataclass(frozen=True)
class Limits:
    """Of an archive: files (and as many folders), bytes of all, bytes of one, how many times its own they may be."""

    files: int = 100_000
    total_bytes: int = 8 * 1024**3
    file_bytes: int = 256 * 1024**2
    ratio: float = 100.0


def open_archive(path: Path, into: Path, limits: Limits | None = None, *, name: str = "") -> Folder:
    """Extract a zip or tar file into `into`, an empty or new folder; open its pairs.csv or pairs.jsonl, or the folder.

    Names that are absolute or lead out, links, devices and encrypted files are refused, before anything is written
    where the format has a table (zip), else when they come (tar). InvalidRequest says which; TooLarge which limit is
    passed. Whatever fails, `into` is empty then.
    """
    limits = limits or Limits()
    path, into = Path(path), Path(into)
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise InvalidRequest(f"{into.name} is not empty: an archive is extracted into a folder of its own")
    named = name or path.name
    try:
        _extract(path, into, limits, named)
        root = _within(into)
        pairs = next((root / each for each in PAIRS if (root / each).is_file()), None)
        if pairs is not None:
            found = open_pairs(pairs, root=root)
            return Folder(named, found.root, found.names, pairs=found.pairs)
        return open_folder(root, labels=True, name=named)
    except BaseException:
        for each in into.iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        raise


def _within(into: Path) -> Path:
    """The one folder that the archive holds, or all of it; a bank's folders are not gone into."""
    inside = [each for each in into.iterdir() if not each.name.startswith(".") and each.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else into


def _extract(path: Path, into: Path, limits: Limits, name: str) -> None:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _zip(archive, into, limits, name, path.stat().st_size)
            return
        with _decompressed(path) as raw:
            watched = _Watched(raw, name)
            with tarfile.open(fileobj=cast(IO[bytes], watched), mode="r:") as archive_:
                _tar(archive_, into, limits, name, path.stat().st_size)
                if watched.last != bytes(tarfile.BLOCKSIZE):
                    # tarfile takes a file that is cut off between or within headers for one that ends there.
                    raise InvalidRequest(f"{name} is cut off or damaged: its end is missing")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, tarfile.FilterError):
            raise InvalidRequest(f"{name}: {error}") from None
        raise InvalidRequest(f"{name} is no zip or tar file, or is damaged") from None
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InvalidRequest(f"{name} cannot be unpacked: it is damaged") from None


def _decompressed(path: Path) -> IO[bytes]:
    """The tar file in it. Unlike tarfile's own streams these complain of a file that is cut off."""
    with path.open("rb") as file:
        start = file.read(6)
    for magic, opened in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if start.startswith(magic):
            return cast(IO[bytes], opened(path, "rb"))
    return path.open("rb")


class _Watched:
    """A file whose `last` read is kept, and that refuses to hold much at once: long names may claim any length."""

    def __init__(self, raw: IO[bytes], name: str) -> None:
        self._raw, self._name, self.last = raw, name, b""
        self.seek, self.tell = raw.seek, raw.tell

    def read(self, size: int = -1) -> bytes:
        """So many bytes. Raises TooLarge for more than a chunk."""
        if not 0 <= size <= _CHUNK:
            raise TooLarge(f"{self._name}: a header of more than {_CHUNK} bytes")
        self.last = self._raw.read(size)
        return self.last


class _Budget:
    """What may still come."""

    def __init__(self, limits: Limits, own: int, name: str) -> None:
        self._limits, self._name, self._files, self._folders, self._bytes = limits, name, 0, 0, 0
        self._most = min(limits.total_bytes, int(limits.ratio * max(own, 64 * 1024)))

    def folder(self) -> None:
        """One more. Raises TooLarge."""
        self._folders += 1
        if self._folders > self._limits.files:
            raise TooLarge(f"{self._name} has more than {self._limits.files} folders")

    def file(self, size: int) -> None:
        """One more, which claims to be so long. Raises TooLarge."""
        self._files += 1
        if self._files > self._limits.files:
            raise TooLarge(f"{self._name} has more than {self._limits.files} files")
        if size > self._limits.file_bytes:
            raise TooLarge(f"{self._name}: a file of more than {self._limits.file_bytes} bytes")

    def copy(self, source: IO[bytes], target: Path) -> None:
        """Written, and counted as it comes: what a header claims is not trusted. Raises TooLarge."""
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with target.open("xb") as out:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                self._bytes += len(chunk)
                if written > self._limits.file_bytes:
                    raise TooLarge(f"{self._name}: a file of more than {self._limits.file_bytes} bytes")
                if self._bytes > self._most:
                    raise TooLarge(
                        f"{self._name} unpacks to more than {self._most} bytes, which are allowed for its own size"
                    )
                out.write(chunk)


def _zip(archive: zipfile.ZipFile, into: Path, limits: Limits, name: str, own: int) -> None:
    budget, places = _Budget(limits, own, name), {}
    for each in archive.infolist():
        mode = each.external_attr >> 16
        if each.flag_bits & 1:
            raise InvalidRequest(f"{name}: {each.filename!r} is encrypted")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InvalidRequest(f"{name}: {each.filename!r} is a link or a device")
        budget.folder() if each.is_dir() else budget.file(each.file_size)
        places[each.filename] = _place(into, each.filename, name)
    for each in archive.infolist():
        if not each.is_dir():
            with archive.open(each) as source:
                _written(budget.copy, source, places[each.filename], name)


def _tar(stream: tarfile.TarFile, into: Path, limits: Limits, name: str, own: int) -> None:
    budget = _Budget(limits, own, name)
    for member in stream:
        if not (member.isreg() or member.isdir()):
            raise InvalidRequest(f"{name}: {member.name!r} is a link or a device")
        tarfile.data_filter(member, str(into))  # raises for what leads out, besides our own look at it
        budget.folder() if member.isdir() else budget.file(member.size)
        place = _place(into, member.name, name)
        if member.isreg():
            source = stream.extractfile(member)
            assert source is not None
            _written(budget.copy, source, place, name)


def _place(into: Path, member: str, name: str) -> Path:
    """Where a member goes. InvalidRequest for a name that is absolute, or leads out of the folder."""
    parts = member.replace("\\", "/").split("/")
    drive = len(parts[0]) == 2 and parts[0].endswith(":")
    if member.startswith(("/", "\\")) or drive or ".." in parts or "\0" in member or not member.strip("/."):
        if member in ("./", "."):
            return into
        raise InvalidRequest(f"{name}: {member[:200]!r} leads out of the archive's folder")
    return into.joinpath(*(part for part in parts if part not in ("", ".")))


def _written(copy: Callable[[IO[bytes], Path], None], source: IO[bytes], place: Path, name: str) -> None:
    try:
        copy(source, place)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise InvalidRequest(f"{name}: two members have the name {place.name!r}") from None
