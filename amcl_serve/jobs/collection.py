"""The images of a collection as a dataset: thumbnails, or the files that its payloads name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import InvalidRequest, NotFound, TooLarge
from amcl_serve.evaluation.dataset import Pairs
from amcl_serve.evaluation.embedder import About
from amcl_serve.vectors.protocol import VectorStore
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import CollectionInfo, PointId, Rows

MOST = 100_000  # images of a dataset
_AT_A_TIME = 1000  # payloads that are read together
PATH = "path"  # of a payload, as `amcl-serve index` writes it


class CollectionImages:
    """The points of a collection, `limit` of them at random; where `labels` names a key of the payloads, those of them
    that have a text, number or boolean there. Without thumbnails and files it is `Stored`: its vectors are looked at.
    """

    pairs: Pairs | None = None

    def __init__(
        self,
        store: VectorStore,
        collection: str,
        *,
        labels: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        root: Path | None = None,
        max_bytes: int = 1 << 26,
    ) -> None:
        """`root` is the folder of the files, none to have the thumbnails alone; one may have `max_bytes`.

        CollectionNotFound; InvalidRequest where there are no points, or no labels.
        """
        scan = store.scan(collection)
        self.name, self.index = scan.info.name, scan.info.index
        self._store, self._root, self._max_bytes = store, None if root is None else root.resolve(), max_bytes
        self._ids: list[PointId] = []
        self._files: list[str | None] = []
        names, found, kept = [], [], []
        for rows in _groups(_drawn(scan.rows, min(limit or MOST, MOST), seed)):
            for row, stored in scan.points(rows).items():
                payload = stored.payload
                label = None if labels is None else _label(payload, labels)
                if labels is not None and label is None:
                    continue
                path = payload.get(PATH)
                kept.append(row)
                self._ids.append(stored.id)
                self._files.append(path if isinstance(path, str) else None)
                names.append(path if isinstance(path, str) else str(stored.id))
                found.append(label or "")
        self.names: Sequence[str] = names
        self.labels: Sequence[str] | None = None if labels is None else found
        if not names:
            without = "" if labels is None else f" with a text, number or boolean at {labels!r} of its payload"
            raise InvalidRequest(f"collection {self.name!r} has no point{without}")

        if root is None and not scan.info.thumbnails:
            self.about = _about(scan.info)
            self.vectors = partial(_vectors, scan, np.array(kept))

    def read(self, index: int) -> bytes:
        """The file that the payload names, under the root; without one, the thumbnail. NotFound where neither is."""
        path = self._files[index]
        found = self._file(path) if path is not None and self._root is not None else None
        if found is None:
            found = self._store.thumbnail(self.name, self._ids[index])
        if found is None:
            raise NotFound(f"{self.names[index][:200]}: the collection has no image of it")
        return found

    def _file(self, path: str) -> bytes | None:
        """None where there is none within the root, wherever its links lead."""
        assert self._root is not None
        try:
            file = (self._root / path).resolve(strict=True)
            if not file.is_relative_to(self._root) or not file.is_file():
                return None
            if file.stat().st_size > self._max_bytes:
                raise TooLarge(f"{path[:200]}: more than {self._max_bytes} bytes")
            return file.read_bytes()
        except OSError:
            return None


def _about(info: CollectionInfo) -> About:
    model = info.model
    name, digest = ("vectors of an unknown model", "") if model is None else (model.name, model.digest)
    return About(name, digest, "float32, as stored", "none", 0, "unknown: pictures are not stored", "stored vectors")


def _vectors(scan: Scan, rows: Rows) -> npt.NDArray[np.float32]:
    """Of all `rows`, in their order; NaN of those that are gone."""
    found = np.full((len(rows), scan.info.size), np.nan, np.float32)
    for start in range(0, len(rows), _AT_A_TIME):
        part = np.sort(rows[start : start + _AT_A_TIME])
        there, vectors = scan.vectors(part)
        place = {int(row): at for at, row in enumerate(rows[start : start + _AT_A_TIME], start)}
        found[[place[int(row)] for row in there]] = vectors
    return found


def _drawn(rows: Rows, most: int, seed: int) -> Rows:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _groups(rows: Rows) -> list[Rows]:
    return [rows[start : start + _AT_A_TIME] for start in range(0, len(rows), _AT_A_TIME)]


def _label(payload: Mapping[str, Any], key: str) -> str | None:
    found: Any = payload
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return str(found) if isinstance(found, (str, int, float, bool)) else None
