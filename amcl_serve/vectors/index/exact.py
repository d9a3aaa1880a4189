"""The exact search over one collection's vectors, in memory; derived from SQLite and never the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.index.pages import Memory
from amcl_serve.vectors.index.places import Places, Selector
from amcl_serve.vectors.types import Distance, Rows, Vectors

_GIANTS = 64  # longest vectors, whose rounding errors would hide what all others are worth
_FEW = 0.1  # share of the vectors below which those that are chosen are looked at without passing by the others
_DEAD = 0.25  # share of removed vectors beyond which their room is used again
_EPS = float(np.finfo(np.float32).eps)

Proposed = Callable[[int], tuple[float, Rows]]  # of so many places: FAISS's value of the last one, and all of them


class Found(NamedTuple):
    """Rows [K], their scores float32 [K] and vectors [K, size], in no set order."""

    rows: Rows
    scores: npt.NDArray[np.float32]
    vectors: Vectors

    def joined(self, other: Found) -> Found:
        """Both."""
        return Found(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.vectors, other.vectors]),
        )


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
        self._at = Places()
        self._everything: Vectors | None = None  # FAISS's vectors, where they lie now
        # Of Dot alone, whose vectors may have any length:
        self._giants = np.empty(0, np.int64)  # places
        self._longest = 1.0 if distance == "Cosine" else 0.0  # length of a vector that is none of them, at most
        # FAISS sums products in at least 8 lanes of float32: this bounds its error relative to |a| |b|.
        self._error = (size / 8 + 8) * _EPS

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self._at)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [N, size] under the ids rows [N], which ascend from beyond all that were ever added."""
        if not len(rows):
            return
        first = self._index.ntotal
        self._append(np.ascontiguousarray(vectors))
        self._everything = None
        self._at.append(rows)
        self._find_giants(np.arange(first, first + len(rows)))

    def remove(self, rows: Rows) -> None:
        """Remove these ids; one that is not there is no error."""
        self._at.remove(rows)
        if self._compacts and self.dead > _DEAD:
            dead = Selector(~self._at.alive)
            self._index.remove_ids(dead.sel)  # keeps the order
            self._everything = None
            self._at.compact()
            self._giants, self._longest = np.empty(0, np.int64), min(self._longest, 1.0)
            self._find_giants(np.arange(len(self)))

    @property
    def memory(self) -> Memory:
        """Where FAISS has the vectors; (0, 0) where it has none."""
        count = self._index.ntotal
        return (int(self._index.get_xb()), 4 * self._size * count) if count else (0, 0)

    @property
    def dead(self) -> float:
        """Share of vectors that are removed and still there."""
        return self._at.dead

    @property
    def rows(self) -> Rows:
        """The ids that are there, ascending; a copy."""
        return self._at.rows

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors [N, size] of these ids, which are there."""
        return self._vectors(self._at.find(rows)[0])

    def search(self, vector: Vectors, count: int, only: Rows | None = None) -> Found:
        """The `count` best for `vector` [size], and all others that tie with the last of them.

        `only` restricts the search to these rows; those that are not there are not found. Scores are those of
        `scores`: FAISS rounds its sums and breaks ties by position, so it only proposes. In the worst case, a
        collection of equal vectors, all of them are looked at.
        """
        chosen, eligible = self._at.chosen(only)
        count = min(count, eligible)
        if count == 0:
            return self._found(np.empty(0, np.int64), vector)
        giants = self._giants if chosen is None else self._giants[chosen[self._giants]]
        faiss.omp_set_num_threads(self._threads)  # of the calling thread alone
        if chosen is not None and eligible < _FEW * len(chosen):
            proposed = self._among(vector, np.flatnonzero(chosen))
        else:
            proposed = self._nearest(vector, chosen)
        fetched = min(eligible, count + 8)
        while True:
            near, at = proposed(fetched)
            found = self._found(np.union1d(at, giants) if len(giants) else at, vector)
            badness = found.scores if self._distance == "Euclid" else -found.scores
            last = np.partition(badness, count - 1)[count - 1]
            if fetched == eligible or self._beyond(vector, near) > last:
                good = badness <= last
                return Found(found.rows[good], found.scores[good], found.vectors[good])
            fetched = min(eligible, fetched * 4)

    def _nearest(self, vector: Vectors, chosen: npt.NDArray[np.bool_] | None) -> Proposed:
        parameters = faiss.SearchParameters()
        selector = None if chosen is None else Selector(chosen)
        if selector is not None:
            parameters.sel = selector.sel

        def proposed(count: int, _: object = selector) -> tuple[float, Rows]:
            near, at = self._index.search(vector[None], count, params=parameters)
            return float(near[0, -1]), at[0]

        return proposed

    def _among(self, vector: Vectors, places: Rows) -> Proposed:
        distances = np.empty(len(places), np.float32)
        swig = faiss.swig_ptr
        asked = np.ascontiguousarray(vector, np.float32)
        self._index.compute_distance_subset(1, swig(asked), len(places), swig(distances), swig(places))  # type: ignore[attr-defined]
        order = distances if self._distance == "Euclid" else -distances

        def proposed(count: int) -> tuple[float, Rows]:
            best = np.argpartition(order, count - 1)[:count]
            return float(distances[best[-1]]), places[best]

        return proposed

    def _append(self, vectors: Vectors) -> None:
        self._index.add(vectors)

    def lacks(self, rows: Rows) -> Rows:
        """Those of `rows` that are not there."""
        return self._at.find(rows)[1]

    def _found(self, places: Rows, vector: Vectors) -> Found:
        vectors = self._vectors(places)
        return Found(self._at.all[places], scores(vector, vectors, self._distance), vectors)

    def _vectors(self, places: Rows) -> Vectors:
        everything = self._everything
        if everything is None:
            flat = faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self._size)
            everything = self._everything = flat.reshape(-1, self._size)
        chosen: Vectors = everything[places]
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


def _parts(places: Rows) -> list[Rows]:
    return np.array_split(places, len(places) // 4096 + 1)


def scores(vector: Vectors, vectors: Vectors, distance: Distance) -> npt.NDArray[np.float32]:
    """The scores [N] of vectors [N, size] against vector [size], summed in float64, each row by itself.

    Equal vectors get equal scores, whatever stands around them: FAISS and BLAS do not promise that.
    """
    wide, query = vectors.astype(np.float64), vector.astype(np.float64)
    result: npt.NDArray[np.float64] = (
        np.sqrt(np.add.reduce(np.square(wide - query), axis=1)) if distance == "Euclid" else np.vecdot(wide, query)
    )
    return result.astype(np.float32)
