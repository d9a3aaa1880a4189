"""The exact search over one collection's vectors, in memory; derived from SQLite and never the truth."""

from __future__ import annotations

from collections.abc import Iterable

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.types import Distance

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


class ExactIndex:
    """Row ids and vectors float32 [N, size] in FAISS. Not safe for concurrent use: the store holds its lock.

    A search takes `threads` of OpenMP. A team of them is woken for each, which beside other work costs several times
    the search.
    """

    def __init__(self, size: int, distance: Distance, threads: int = 1) -> None:
        self._distance = distance
        self._threads = threads
        self._index = faiss.IndexIDMap(faiss.IndexFlatL2(size) if distance == "Euclid" else faiss.IndexFlatIP(size))
        self._largest = 0.0  # length of the longest vector ever added
        # FAISS sums products in at least 8 lanes of float32: this bounds its error relative to |a| |b|.
        self._error = (size / 8 + 8) * float(np.finfo(np.float32).eps)

    def __len__(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [N, size] under the ids rows [N], none of which may be present."""
        if len(rows):
            self._index.add_with_ids(np.ascontiguousarray(vectors), rows)
            self._largest = max(self._largest, float(np.linalg.norm(vectors.astype(np.float64), axis=1).max()))

    def remove(self, rows: Iterable[int]) -> None:
        """Remove these ids, all of which must be present."""
        gone = np.fromiter(rows, dtype=np.int64)
        if len(gone):
            removed = self._index.remove_ids(faiss.IDSelectorBatch(gone))
            assert removed == len(gone), (removed, len(gone))

    def candidates(self, vector: Vectors, count: int, only: Rows | None = None) -> Rows:
        """The ids of the `count` nearest and of all others that may tie with the last of them, in no set order.

        `only` restricts the search to these ids. FAISS rounds its sums and breaks ties by position, so it only
        proposes: whoever ranks (see `scores`) gets every id that could belong among the best `count`. In the worst
        case, a collection of equal vectors, that is all of them.
        """
        eligible = len(self) if only is None else len(only)
        count = min(count, eligible)
        if count == 0:
            return np.empty(0, dtype=np.int64)
        parameters = faiss.SearchParameters()
        if only is not None:
            selector = faiss.IDSelectorBatch(only)  # a name of its own keeps it alive: FAISS holds a bare pointer
            parameters.sel = selector
        fetched = min(eligible, count + 8)
        faiss.omp_set_num_threads(self._threads)  # of the calling thread alone
        while True:
            found, rows = self._index.search(vector[None], fetched, params=parameters)
            margin = self._margin(vector, float(found[0, count - 1]))
            close = np.abs(found[0].astype(np.float64) - found[0, count - 1]) <= margin
            if fetched == eligible or not close[-1]:
                close[:count] = True
                return np.asarray(rows[0, close], dtype=np.int64)
            fetched = min(eligible, fetched * 4)

    def _margin(self, vector: Vectors, score: float) -> float:
        if self._distance == "Euclid":  # a sum of squares: its error is relative to itself
            scale = score
        else:
            scale = float(np.linalg.norm(vector.astype(np.float64))) * self._largest
        return 2 * self._error * scale + float(np.finfo(np.float32).tiny)  # products under `tiny` may vanish


def scores(vector: Vectors, vectors: Vectors, distance: Distance) -> npt.NDArray[np.float32]:
    """The scores [N] of vectors [N, size] against vector [size], summed in float64, each row by itself.

    Equal vectors get equal scores, whatever stands around them: FAISS and BLAS do not promise that.
    """
    wide, query = vectors.astype(np.float64), vector.astype(np.float64)
    result: npt.NDArray[np.float64]
    result = np.sqrt(np.square(wide - query).sum(axis=1)) if distance == "Euclid" else (wide * query).sum(axis=1)
    return result.astype(np.float32)
