"""Shards in WebDataset's layout: tar files whose members come in groups of one basename, `1.jpg 1.cls 2.jpg …`.

Nothing is unpacked: one pass over the headers finds where each image lies, and images are read from there. So any image
can be had by its number, and a run can resume anywhere, while an epoch reads only a few shards at a time.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from amcl_serve.model.image_files import SUFFIXES, left_out
from amcl_serve.model.pixels import upright
from training.data.sources import Labels, Numbers, Unlabelled, printable, stamp

_WINDOW = 8  # shards whose images are shuffled among each other
_OPEN = 64  # shards a process keeps open
_LARGEST = 256 << 20  # bytes of a member that are read into memory
_LABELS = (".cls", ".txt", ".json")


def find_shards(pattern: str) -> list[Path]:
    """The files of `train-{000..099}.tar` (ranges, alternatives in braces), `train-*.tar` or one path, sorted.

    ValueError names one that is missing.
    """
    found: list[str] = []
    for name in _braces(os.path.expanduser(pattern)):  # noqa: PTH111 - a pattern, no path
        matches = glob.glob(name) if glob.has_magic(name) else [name]  # noqa: PTH207
        if not matches or not Path(matches[0]).is_file():
            raise ValueError(f"no file {name}")
        found += matches
    return sorted({Path(name) for name in found})


def _braces(text: str) -> Iterator[str]:
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        yield text
        return
    inner = match[1]
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", inner)
    parts: Sequence[str] = inner.split(",")
    if ends:
        parts = [str(number).zfill(len(ends[1])) for number in range(int(ends[1]), int(ends[2]) + 1)]
    for part in parts:
        yield from _braces(text[: match.start()] + part + text[match.end() :])


@dataclass
class _Sample:
    """Where the members of one sample lie: (offset, size) of its image and of the file with its label, in bytes."""

    key: str
    shard: int
    image: tuple[str, int, int] | None = None
    labels: dict[str, tuple[int, int]] = field(default_factory=dict)


class TarImages:
    """The images of some shards; labels are read from .cls, .txt or .json (its `label`) if `labelled`.

    Raises ValueError for a compressed or damaged shard, for one made of several (as `cat a.tar b.tar` makes it), for
    shards without images, and for a missing label: Unlabelled where it is the first image's.
    """

    def __init__(self, shards: Sequence[Path], *, labelled: bool = False) -> None:
        self.shards = list(shards)
        self._files: dict[int, int] = {}  # shard -> descriptor
        hidden: list[str] = []
        samples = [
            sample
            for number, shard in enumerate(tqdm(self.shards, desc="reading headers", unit="shard", disable=None))
            for sample in _scan(shard, number, hidden)
            if sample.image is not None
        ]
        if not samples:
            raise ValueError(f"no images in {self.shards[0]}; wanted members ending in {', '.join(sorted(SUFFIXES))}")
        self.note = left_out(len(hidden))
        images = [sample.image for sample in samples if sample.image is not None]
        self.names = [name for name, _, _ in images]
        self._shard = np.array([sample.shard for sample in samples], np.int64)
        self._place = np.array([place for _, *place in images], np.int64)
        self.labels: Labels | None = np.array(self._labels(samples)) if labelled else None
        self._close()

    def __len__(self) -> int:
        return len(self.names)

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB, decoded as the server decodes it."""
        return upright(self.encoded(index))

    def encoded(self, index: int) -> bytes:
        """The bytes of its member."""
        return self._read(int(self._shard[index]), *self._place[index].tolist())

    def stamp(self, index: int) -> bytes:
        """Path, size and times of its shard, and where it lies there."""
        shard = self.shards[self._shard[index]].absolute()
        return stamp(shard, shard.stat(), *self._place[index].tolist())

    def name(self, index: int) -> str:
        """Its shard and its name there."""
        return printable(self._name(index))

    def shard_of(self, indices: Numbers) -> Numbers:
        """The number of the shard that each image lies in."""
        return self._shard[indices]

    def fingerprint(self) -> str:
        """sha256 of the shards' names and their images' names and sizes."""
        digest = hashlib.sha256(self._place[:, 1].tobytes())
        for index in range(len(self)):
            digest.update(f"{self._name(index)}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def order(self, generator: np.random.Generator) -> Numbers:
        """Shards in random order, and the images of a few neighbours in it shuffled together: reads stay local."""
        members = np.split(np.arange(len(self)), np.searchsorted(self._shard, np.arange(1, len(self.shards))))
        shards = generator.permutation(len(members))
        windows = [shards[start : start + _WINDOW] for start in range(0, len(shards), _WINDOW)]
        return np.concatenate([generator.permutation(np.concatenate([members[s] for s in w])) for w in windows])

    def _name(self, index: int) -> str:
        return f"{self.shards[self._shard[index]].name}: {self.names[index]}"

    def _close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        """Positions are given with each read, so processes that inherit a descriptor do not disturb each other."""
        if size > _LARGEST:
            raise OSError(f"{size >> 20} MiB are no image")
        if shard not in self._files:
            if len(self._files) >= _OPEN:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = os.open(self.shards[shard], os.O_RDONLY)
        return os.pread(self._files[shard], size, offset)

    def _labels(self, samples: Sequence[_Sample]) -> list[str]:
        """Unlabelled where the first sample has no label, ValueError where a later one lacks it."""
        found: list[str] = []
        try:
            for sample in samples:
                found.append(self._label(sample))  # noqa: PERF401 - how many there were tells which error it is
        except Unlabelled as error:
            if found:
                raise ValueError(*error.args) from None
            raise
        return found

    def _label(self, sample: _Sample) -> str:
        found = next((suffix for suffix in _LABELS if suffix in sample.labels), None)
        where = printable(f"{self.shards[sample.shard]}: {sample.key}")
        if found is None:
            raise Unlabelled(f"the images are not labelled: {where} has neither {', '.join(_LABELS)}")
        try:
            text = self._read(sample.shard, *sample.labels[found]).decode().strip()
            return str(json.loads(text)["label"]) if found == ".json" else text
        except (OSError, ValueError, KeyError, TypeError):
            raise Unlabelled(f"{where}{found} holds no label") from None

    def __getstate__(self) -> dict[str, Any]:
        """Without descriptors, which mean nothing in a process that did not inherit them."""
        return {**self.__dict__, "_files": {}}


def _scan(path: Path, number: int, hidden: list[str]) -> Iterator[_Sample]:
    """The samples of one shard: neighbours with the same path up to the first dot of the name.

    Hidden members (`._NAME`, which macOS adds) are no samples; those that end like images are added to `hidden`.
    """
    sample: _Sample | None = None
    try:
        if path.stat().st_size % tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut off")
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header
                inside = PurePosixPath(member.name)
                if not member.isreg() or not inside.name:
                    continue
                if inside.name.startswith("."):
                    hidden += [member.name] if inside.suffix.lower() in SUFFIXES else []
                    continue
                key = str(inside.with_name(inside.name.partition(".")[0] or inside.name))
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key, number)
                suffix = inside.suffix.lower()
                if suffix in SUFFIXES and sample.image is None:
                    sample.image = (member.name, member.offset_data, member.size)
                elif suffix in _LABELS:
                    sample.labels.setdefault(suffix, (member.offset_data, member.size))
            _check_end(path, archive.offset)  # where it found no header
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an uncompressed tar file: {error}") from None
    if sample is not None:
        yield sample


def _check_end(path: Path, offset: int) -> None:
    """ReadError unless zeros lie from `offset` to the end: tarfile takes a damaged header for the end as well."""
    with path.open("rb") as file:
        file.seek(offset)
        first = file.read(tarfile.BLOCKSIZE)
        if not first:
            raise tarfile.ReadError("it is cut off")
        if any(first):
            raise tarfile.ReadError(f"the header at byte {offset} is damaged")
        while rest := file.read(1 << 20):
            if any(rest):
                raise tarfile.ReadError("something follows its end; give joined files one by one")
