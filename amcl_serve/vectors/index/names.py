"""Which point each row of a collection is, and the operation that wrote it last: what a search answers, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.index.places import Places, grown
from amcl_serve.vectors.types import Rows

_DEAD = 0.25  # share of removed rows beyond which their room is used again


class Names:
    """Keys and versions by row: 36 bytes a point, 53 where there are UUIDs. A row's key never changes.

    Any number of threads may read at a time, none while one changes anything.
    """

    def __init__(self) -> None:
        self._at = Places()
        self._keys: npt.NDArray[Any] = np.empty(0, "S1")  # with room to grow, as the next
        self._versions = np.empty(0, np.int64)

    def add(self, rows: Rows, keys: Sequence[str], versions: Rows) -> None:
        """Add points, whose rows ascend from beyond all that were ever added; the first of a write are."""
        first = len(self._at.all)
        self._at.append(rows)
        more = np.array(keys, np.bytes_)  # they are ASCII
        wide = max(self._keys.dtype, more.dtype, key=lambda dtype: dtype.itemsize)
        self._keys = grown(self._keys.astype(wide, copy=False), first + len(rows))
        self._versions = grown(self._versions, first + len(rows))
        self._keys[first : first + len(rows)], self._versions[first : first + len(rows)] = more, versions

    def follow(self, change: Change) -> None:
        """Bring them up to a write."""
        self._at.remove(change.removed)
        if self._at.dead > _DEAD:
            alive = self._at.alive.copy()
            used = len(alive)
            self._keys, self._versions = self._keys[:used][alive], self._versions[:used][alive]
            self._at.compact()
        if len(change.added):
            self.add(change.added, change.keys, np.full(len(change.added), change.version))
        places, _ = self._at.find(change.touched)
        self._versions[places] = change.version

    @property
    def rows(self) -> Rows:
        """Those of all points, ascending; a copy."""
        return self._at.rows

    def of(self, rows: Rows) -> tuple[list[str], list[int]]:
        """The keys and the versions of these rows, which are there."""
        places = self._at.of_those(rows)
        return [key.decode() for key in self._keys[places].tolist()], self._versions[places].tolist()
