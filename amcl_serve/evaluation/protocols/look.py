"""All images of a dataset looked at once: read, hashed, measured and embedded, a bounded batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError, InvalidRequest, UnreadableFile
from amcl_serve.evaluation.dataset import Dataset, queries_of
from amcl_serve.evaluation.embedder import Embedded, Embedder
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols.quality import Quality, quality
from amcl_serve.evaluation.stored import Stored, stored
from amcl_serve.machine import cores

BATCH = 64  # images read before they are embedded
_BATCH_BYTES = 64 * 1024 * 1024  # of their files; one file may be longer


@dataclass(frozen=True)
class Model:
    """One that embeds, and what it says of the M images that could be read."""

    embedder: Embedder
    features: npt.NDArray[np.float32]  # [M, D]
    heads: npt.NDArray[np.float32]  # [M, C, d']

    def row(self, place: int) -> Embedded:
        """Of the image at one place of M."""
        return Embedded(self.features[place], self.heads[place])


@dataclass(frozen=True)
class Look:
    """What was seen of a dataset: of `asked` images M could be read and embedded by all models."""

    dataset: Dataset
    asked: int
    problems: Sequence[tuple[str, str]]  # the names of the others, and why
    indices: npt.NDArray[np.int64]  # [M], in the dataset
    digests: Sequence[str]  # [M], sha256 of their files
    quality: Sequence[Quality]  # [M]
    models: Sequence[Model]
    data_hash: str  # sha256 of the names and digests of all images asked
    seconds: dict[str, float]  # by what they were spent on

    def __len__(self) -> int:
        """M."""
        return len(self.indices)

    def name(self, place: int) -> str:
        """Of the image at one place of M."""
        return self.dataset.names[int(self.indices[place])]

    @property
    def labels(self) -> npt.NDArray[Any] | None:
        """[M], where there are any."""
        given = self.dataset.labels
        return None if given is None else np.array([given[int(index)] for index in self.indices])

    @property
    def queries(self) -> npt.NDArray[np.bool_] | None:
        """Which of M ask the others, [M], where the dataset says so."""
        given = queries_of(self.dataset)
        return None if given is None else given[self.indices]

    @property
    def held_out(self) -> npt.NDArray[np.int64]:
        """The places of the images that figures without labels are of: the queries, or all."""
        queries = self.queries
        return np.arange(len(self)) if queries is None else np.flatnonzero(queries)


@dataclass(frozen=True)
class _File:
    """One image as it was read; `data` is empty and `error` says why where it was not."""

    data: bytes
    digest: str
    quality: Quality | None
    error: AmclError | None


def look(dataset: Dataset, embedders: Sequence[Embedder], progress: Progress, *, limit: int = 0) -> Look:
    """Read and embed the dataset's images, at most `limit` (0: all), evenly spaced. Raises what an embedder raises."""
    chosen = evenly(len(dataset.names), limit)
    if (kept := stored(dataset)) is not None:
        return _of_vectors(kept, embedders, chosen)
    seen = hashlib.sha256()
    problems: list[tuple[str, str]] = []
    indices: list[int] = []
    digests: list[str] = []
    measured: list[Quality] = []
    rows: list[list[Embedded]] = [[] for _ in embedders]
    seconds = {"reading": 0.0, "embedding": 0.0}
    progress("embedding", 0, len(chosen))
    with ThreadPoolExecutor(cores(), thread_name_prefix="amcl-evaluate") as pool:
        at = 0
        while at < len(chosen):
            begun = perf_counter()
            files, at_next = _batch(pool, dataset, chosen, at)
            seconds["reading"] += perf_counter() - begun
            good = [place for place, file in enumerate(files) if file.error is None]
            begun = perf_counter()
            answers = [each.embed([files[place].data for place in good]) if good else [] for each in embedders]
            seconds["embedding"] += perf_counter() - begun
            column = iter(zip(*answers, strict=True))
            for place, file in enumerate(files):
                index = int(chosen[at + place])
                name = dataset.names[index]
                seen.update(f"{name}\0{file.digest}\n".encode())
                found = (file.error,) if file.error is not None else next(column)
                faults = [each for each in found if isinstance(each, AmclError)]
                if faults:
                    problems.append((name, faults[0].detail))
                    continue
                assert file.quality is not None
                indices.append(index)
                digests.append(file.digest)
                measured.append(file.quality)
                for each, answer in zip(rows, found, strict=True):
                    assert isinstance(answer, Embedded)
                    each.append(answer)
            at = at_next
            progress("embedding", at, len(chosen))
    models = [Model(embedder, *_stacked(each)) for embedder, each in zip(embedders, rows, strict=True)]
    numbers = np.array(indices, np.int64)
    return Look(dataset, len(chosen), problems, numbers, digests, measured, models, seen.hexdigest(), seconds)


def _of_vectors(dataset: Stored, embedders: Sequence[Embedder], chosen: npt.NDArray[np.int64]) -> Look:
    begun = perf_counter()
    rows = np.ascontiguousarray(dataset.vectors()[chosen], np.float32)
    seconds = {"reading": perf_counter() - begun, "embedding": 0.0}
    good = np.isfinite(rows).all(axis=1)
    digests = [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]
    names = [dataset.names[int(index)] for index in chosen]
    problems = [(names[place], "its vector is gone") for place in np.flatnonzero(~good)]
    seen = hashlib.sha256("".join(f"{n}\0{d}\n" for n, d in zip(names, digests, strict=True)).encode())
    model = Model(embedders[0], rows[good], np.empty((int(good.sum()), 0, 0), np.float32))
    kept = [digests[place] for place in np.flatnonzero(good)]
    return Look(dataset, len(chosen), problems, chosen[good], kept, [], [model], seen.hexdigest(), seconds)


def evenly(count: int, limit: int) -> npt.NDArray[np.int64]:
    """At most `limit` (0: all) of `count` numbers, evenly spaced."""
    if not limit or limit >= count:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).round().astype(np.int64))


def _batch(
    pool: ThreadPoolExecutor, dataset: Dataset, chosen: npt.NDArray[np.int64], at: int
) -> tuple[list[_File], int]:
    """The next files, and where those after them begin."""
    files: list[_File] = []
    step = 2 * cores()
    while at < len(chosen) and len(files) < BATCH and sum(len(file.data) for file in files) < _BATCH_BYTES:
        part = chosen[at : at + min(step, BATCH - len(files))]
        files += pool.map(lambda index: _read(dataset, int(index)), part)
        at += len(part)
    return files, at


def _read(dataset: Dataset, index: int) -> _File:
    try:
        data = dataset.read(index)
    except OSError as error:
        return _File(b"", "", None, UnreadableFile(f"cannot be read: {error.strerror or error}"))
    except AmclError as error:
        return _File(b"", "", None, error)
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _File(data, digest, quality(data), None)
    except AmclError as error:
        return _File(b"", digest, None, error)


def _stacked(rows: Sequence[Embedded]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    if not rows:
        return np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32)
    features, heads = np.stack([row.features for row in rows]), np.stack([row.heads for row in rows])
    if not (np.isfinite(features).all() and np.isfinite(heads).all()):
        raise InvalidRequest("the model gives no finite numbers for some images: it cannot be judged")
    return features, heads
