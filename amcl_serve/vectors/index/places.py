"""Which row stands at which place of a FAISS index, and which places are still alive."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.types import Rows


class Places:
    """Row ids by place, ascending; what is removed leaves its place behind until `compact`."""

    def __init__(self) -> None:
        self._row_at: Rows = np.empty(0, np.int64)  # with room to grow, as the next
        self._alive_at = np.empty(0, np.bool_)
        self._used = 0
        self._count = 0

    @classmethod
    def of(cls, rows: Rows, alive: npt.NDArray[np.bool_]) -> Places:
        """Those rows [N], of which those are alive."""
        made = cls()
        made._row_at, made._alive_at = rows.copy(), alive.copy()
        made._used, made._count = len(rows), int(alive.sum())
        return made

    def __len__(self) -> int:
        """Number of rows that are alive."""
        return self._count

    @property
    def all(self) -> Rows:
        """The rows of all places, dead or alive."""
        return self._row_at[: self._used]

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """By place; may be written to only by `Places`."""
        return self._alive_at[: self._used]

    @property
    def rows(self) -> Rows:
        """The rows that are alive, ascending; a copy."""
        return self.all[self.alive]

    @property
    def dead(self) -> float:
        """Share of the places whose rows are removed."""
        return 1 - self._count / self._used if self._used else 0.0

    def append(self, rows: Rows) -> None:
        """Give these rows the next places; they ascend from beyond all that there are."""
        assert (np.diff(rows) > 0).all()
        assert not self._used or not len(rows) or rows[0] > self.all[-1]
        first, self._used = self._used, self._used + len(rows)
        self._row_at = grown(self._row_at, self._used)
        self._alive_at = grown(self._alive_at, self._used)
        self.all[first:], self.alive[first:] = rows, True
        self._count += len(rows)

    def remove(self, rows: Rows) -> None:
        """Let these rows be dead; one that is not there is no error."""
        places, _ = self.find(rows)
        self.alive[places] = False
        self._count -= len(places)

    def compact(self) -> None:
        """Give the rows that are alive the first places, in their order."""
        kept = self.rows
        self._used = len(kept)
        self.all[:], self.alive[:] = kept, True

    def find(self, rows: Rows) -> tuple[Rows, Rows]:
        """The places of those rows that are there, and the others."""
        if not self._used:
            return np.empty(0, np.int64), rows
        first, last = self._row_at.item(0), self._row_at.item(self._used - 1)
        if last - first == self._used - 1:  # none between them is missing: no need to look for them
            there = (rows >= first) & (rows <= last)
            places = np.where(there, rows - first, 0)
            there &= self.alive[places]
        else:
            places = np.minimum(np.searchsorted(self.all, rows), self._used - 1)
            there = (self.all[places] == rows) & self.alive[places]
        return places[there].astype(np.int64), rows[~there]

    def of_those(self, rows: Rows) -> Rows:
        """The places of these rows, which have some."""
        if not len(rows):
            return rows
        first, last = self._row_at.item(0), self._row_at.item(self._used - 1)
        if last - first == self._used - 1:  # none between them is missing
            return rows - first
        return self.all.searchsorted(rows)

    def chosen(self, only: Rows | None) -> tuple[npt.NDArray[np.bool_] | None, int]:
        """Which places a search may look at, None for all, and how many: those alive, of `only` where that is given."""
        if only is None:
            return (None if self._count == self._used else self.alive), self._count
        places, _ = self.find(only)
        chosen = np.zeros(self._used, np.bool_)
        chosen[places] = True
        return chosen, len(places)


class Selector:
    """Places as FAISS takes them; `sel` is a bare pointer to what this holds."""

    def __init__(self, chosen: npt.NDArray[np.bool_]) -> None:
        self._bits = np.packbits(chosen, bitorder="little")
        self.sel = faiss.IDSelectorBitmap(len(self._bits), faiss.swig_ptr(self._bits))


def grown(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """`array`, or a copy with room for `length` and a half more."""
    if length <= len(array):
        return array
    larger = np.empty(length + length // 2, array.dtype)
    larger[: len(array)] = array
    return larger
