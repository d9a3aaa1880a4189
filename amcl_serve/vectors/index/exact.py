"""The exact search over one collection's vectors, in memory; derived from SQLite and never the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.types import Distance, Rows, Vectors

_GIANTS = 64  # longest vectors, whose rounding errors would hide what all others are worth
_DEAD = 0.25  # share of removed vectors beyond which their room is used again
_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Found:
    """Rows [K] and their scores float32 [K], in no set order."""

    rows: Rows
    scores: npt.NDArray[np.float32]


class ExactIndex:
    """Row ids and vectors float32 [N, size] in FAISS.

    Any number of threads may search at a time, none while one adds or removes. A search takes `threads` of OpenMP: a
    team of them is woken for each, which beside other work costs several times the search.
    """

    _compacts = True  # whether places may change

    def __init__(self, size: int, distance: Distance, threads: int = 1) -> None:
        self._size = size
        self._distance = distance
        self._threads = threads
        self._index: faiss.IndexFlat = faiss.IndexFlatL2(size) if distance == "Euclid" else faiss.IndexFlatIP(size)
        self._row_at: Rows = np.empty(0, np.int64)  # by place in FAISS, ascending; with room to grow, as the next
        self._alive_at = np.empty(0, np.bool_)
        self._count = 0
        # Of Dot alone, whose vectors may have any length:
        self._giants = np.empty(0, np.int64)  # places
        self._longest = 1.0 if distance == "Cosine" else 0.0  # length of a vector that is none of them, at most
        # FAISS sums products in at least 8 lanes of float32: this bounds its error relative to |a| |b|.
        self._error = (size / 8 + 8) * _EPS

    def __len__(self) -> int:
        """Number of vectors."""
        return self._count

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [N, size] under the ids rows [N], which ascend from beyond all that were ever added."""
        if not len(rows):
            return
        assert (np.diff(rows) > 0).all()
        assert not len(self._rows) or rows[0] > self._rows[-1]
        first = len(self._rows)
        self._row_at = _grown(self._row_at, first + len(rows))
        self._alive_at = _grown(self._alive_at, first + len(rows))
        self._append(np.ascontiguousarray(vectors))
        self._rows[first:], self._alive[first:] = rows, True
        self._count += len(rows)
        self._find_giants(np.arange(first, len(self._rows)))

    def remove(self, rows: Rows) -> None:
        """Remove these ids; one that is not there is no error."""
        places, _ = self._places(rows)
        self._alive[places] = False
        self._count -= len(places)
        if self._compacts and self.dead > _DEAD:
            kept = self._rows[self._alive]
            bits = np.packbits(~self._alive, bitorder="little")
            self._index.remove_ids(faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)))  # keeps the order
            self._rows[:], self._alive[:] = kept, True
            self._giants, self._longest = np.empty(0, np.int64), min(self._longest, 1.0)
            self._find_giants(np.arange(len(kept)))

    @property
    def dead(self) -> float:
        """Share of vectors that are removed and still there."""
        return 1 - self._count / len(self._rows) if len(self._rows) else 0.0

    @property
    def rows(self) -> Rows:
        """The ids that are there, ascending; a copy."""
        return self._rows[self._alive]

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors [N, size] of these ids, which are there."""
        places, _ = self._places(rows)
        return self._vectors(places)

    def search(self, vector: Vectors, count: int, only: Rows | None = None) -> Found:
        """The `count` best for `vector` [size], and all others that tie with the last of them.

        `only` restricts the search to these rows; those that are not there are not found. Scores are those of
        `scores`: FAISS rounds its sums and breaks ties by position, so it only proposes. In the worst case, a
        collection of equal vectors, all of them are looked at.
        """
        chosen, eligible = None if self._count == len(self._rows) else self._alive, self._count
        if only is not None:
            places, _ = self._places(only)
            chosen, eligible = np.zeros(len(self._rows), np.bool_), len(places)
            chosen[places] = True
        count = min(count, eligible)
        if count == 0:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        giants = self._giants if chosen is None else self._giants[chosen[self._giants]]
        parameters = faiss.SearchParameters()
        if chosen is not None:
            bits = np.packbits(chosen, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            parameters.sel = selector  # a bare pointer, as that to `bits`: both have names of their own
        faiss.omp_set_num_threads(self._threads)  # of the calling thread alone
        fetched = min(eligible, count + 8)
        while True:
            near, at = self._index.search(vector[None], fetched, params=parameters)
            places = np.union1d(at[0], giants)
            found = scores(vector, self._vectors(places), self._distance)
            badness = found if self._distance == "Euclid" else -found
            last = np.partition(badness, count - 1)[count - 1]
            if fetched == eligible or self._beyond(vector, float(near[0, -1])) > last:
                good = badness <= last
                return Found(self._rows[places[good]], found[good])
            fetched = min(eligible, fetched * 4)

    def _append(self, vectors: Vectors) -> None:
        self._index.add(vectors)

    @property
    def _rows(self) -> Rows:
        return self._row_at[: self._index.ntotal]

    @property
    def _alive(self) -> npt.NDArray[np.bool_]:
        return self._alive_at[: self._index.ntotal]

    def lacks(self, rows: Rows) -> Rows:
        """Those of `rows` that are not there."""
        _, missing = self._places(rows)
        return missing

    def _places(self, rows: Rows) -> tuple[Rows, Rows]:
        """The places of those rows that are there, and the others."""
        if not len(self._rows):
            return np.empty(0, np.int64), rows
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        there = (self._rows[places] == rows) & self._alive[places]
        return places[there].astype(np.int64), rows[~there]

    def _vectors(self, places: Rows) -> Vectors:
        everything = faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self._size)
        chosen: Vectors = everything.reshape(-1, self._size)[places]
        return chosen

    def _beyond(self, vector: Vectors, near: float) -> float:
        """The best that a vector can be worth that FAISS ranks behind `near` and that is no giant; lower is better."""
        tiny = float(np.finfo(np.float32).tiny)  # products below it may vanish
        if self._distance == "Euclid":  # a sum of squares: its error is relative to itself
            return float(np.sqrt(max(0.0, near * (1 - self._error) - tiny))) * (1 - 2 * _EPS)
        length = float(np.linalg.norm(vector.astype(np.float64)))
        best = near + self._error * length * self._longest + tiny
        return -best - 2 * _EPS * abs(best)

    def _find_giants(self, new: Rows) -> None:
        """Look at the vectors at the places `new` too."""
        if self._distance != "Dot":
            return
        places = np.concatenate([self._giants, new])
        lengths = np.concatenate(
            [np.linalg.norm(self._vectors(part).astype(np.float64), axis=1) for part in _parts(places)]
        )
        if len(places) <= _GIANTS:
            self._giants = places
            return
        order = np.argpartition(lengths, len(places) - _GIANTS - 1)
        self._giants = places[order[-_GIANTS:]]
        self._longest = max(self._longest, float(lengths[order[-_GIANTS - 1]]))


def _grown(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """`array`, or a copy with room for `length` and a half more."""
    if length <= len(array):
        return array
    larger = np.empty(length + length // 2, array.dtype)
    larger[: len(array)] = array
    return larger


def _parts(places: Rows) -> list[Rows]:
    return np.array_split(places, len(places) // 4096 + 1)


def scores(vector: Vectors, vectors: Vectors, distance: Distance) -> npt.NDArray[np.float32]:
    """The scores [N] of vectors [N, size] against vector [size], summed in float64, each row by itself.

    Equal vectors get equal scores, whatever stands around them: FAISS and BLAS do not promise that.
    """
    wide, query = vectors.astype(np.float64), vector.astype(np.float64)
    result: npt.NDArray[np.float64]
    result = np.sqrt(np.square(wide - query).sum(axis=1)) if distance == "Euclid" else (wide * query).sum(axis=1)
    return result.astype(np.float32)
