"""Graphs kept on the disk between runs: their links and which points they join, and their codes where they have such;
vectors are read from the store.

    {"size": 512, "distance": "Cosine", "kind": "hnsw", "precision": "float32", "rows": 200000}\n   a line of JSON
    numbers of the points, int64, little-endian
    FAISS's own bytes of the graph, or of the lists
    SHA-256 of all that

A file that is not whole is as good as none: the graph is then made anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from amcl_serve.vectors.types import Distance, IndexChoice, Rows

_DIGEST_BYTES = 32
_NAME = "{collection}.hnsw"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The points that a graph joins, in its order, and its links."""

    rows: Rows
    links: npt.NDArray[np.uint8]


class Snapshots:
    """The folder of the graphs, one file for each collection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, collection: int, size: int, distance: Distance, choice: IndexChoice, kept: Snapshot) -> None:
        """Keep a collection's graph in place of what was kept. OSError where it cannot be."""
        head = orjson.dumps(_said(size, distance, choice) | {"rows": len(kept.rows)}) + b"\n"
        parts = (head, kept.rows.astype("<i8").tobytes(), kept.links.tobytes())
        digest = hashlib.sha256()
        self._folder.mkdir(exist_ok=True)
        path = self._path(collection)
        unfinished = path.with_suffix(".new")
        try:
            with unfinished.open("wb") as stream:
                for part in parts:
                    stream.write(part)
                    digest.update(part)
                stream.write(digest.digest())
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def load(self, collection: int, size: int, distance: Distance, choice: IndexChoice) -> Snapshot | None:
        """What is kept of a collection's graph; None where nothing is, or nothing whole."""
        path = self._path(collection)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        body, digest = memoryview(data)[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            _log.warning("the kept graph %s is damaged, and is made anew", path.name)
            return None
        begins = data.index(b"\n") + 1
        head = orjson.loads(body[:begins])
        if {name: value for name, value in head.items() if name != "rows"} != _said(size, distance, choice):
            return None
        numbers = 8 * int(head["rows"])
        rows = np.frombuffer(body, "<i8", int(head["rows"]), begins).astype(np.int64)
        return Snapshot(rows, np.frombuffer(body, np.uint8, offset=begins + numbers))

    def kept(self) -> list[int]:
        """The collections of which something is kept."""
        names = (path.stem for path in self._folder.glob(_NAME.format(collection="*")))
        return sorted(int(name) for name in names if name.isdecimal())

    def forget(self, collection: int) -> None:
        """Remove what is kept of a collection's graph, if there is anything."""
        self._path(collection).unlink(missing_ok=True)

    def _path(self, collection: int) -> Path:
        return self._folder / _NAME.format(collection=collection)


def _said(size: int, distance: Distance, choice: IndexChoice) -> dict[str, int | str]:
    kind = "ivf" if choice.kind == "ivf" else "hnsw"
    return {"size": size, "distance": distance, "kind": kind, "precision": choice.precision}
