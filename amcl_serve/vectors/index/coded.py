"""Approximate search over codes of the vectors: fewer bytes than float32, or lists instead of a graph.

Scalar quantisation to 16 or 8 bits a number; a graph (HNSW: Malkov and Yashunin 2018, arXiv 1603.09320) or inverted
lists (IVF: Sivic and Zisserman 2003). Codes only propose: the vectors of what they find are read from the store, so
that scores are those of `scores`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.index.exact import Found, scores
from amcl_serve.vectors.index.graph import BUILD_WIDTH, NEIGHBOURS, search_width
from amcl_serve.vectors.index.places import Places, Selector
from amcl_serve.vectors.types import Distance, IndexChoice, Rows, Vectors

Fetch = Callable[[Rows], tuple[Rows, Vectors]]  # those of some rows that there are, ascending, and their vectors

SAMPLED = 50  # vectors for each list, from which lists and the codes' range are learnt
_CODES = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}
_MORE = {"float32": 1, "float16": 2, "int8": 4}  # times as many as are asked for are read from the store
_READ = 1000  # vectors that are rather read from the store than searched by their codes
_BLOCK = 4096  # vectors read at once
_FEW = 0.1  # share of the vectors below which all codes that a filter lets through are looked at
_LISTS = 1 / 16  # of which a search looks at, where it is not told how many
_OUTGROWN = 8  # times as many vectors as the lists were made for


def lists(count: int) -> int:
    """Number of inverted lists for so many vectors."""
    return max(1, round(2 * math.sqrt(count)))


class CodedIndex:
    """Any number of threads may search at a time, none while one changes anything."""

    def __init__(self, size: int, distance: Distance, choice: IndexChoice, threads: int = 1) -> None:
        self._size, self._distance, self._choice, self._threads = size, distance, choice, threads
        self._at = Places()
        self._index: Any = None  # FAISS's, once it is trained
        self._made_for = 0

    def train(self, vectors: Vectors, count: int) -> None:
        """Learn lists and the codes' range for `count` vectors from some of them, [N, size]."""
        kind = f"IVF{min(lists(count), len(vectors))}" if self._choice.kind == "ivf" else f"HNSW{NEIGHBOURS}"
        metric = faiss.METRIC_L2 if self._distance == "Euclid" else faiss.METRIC_INNER_PRODUCT
        index: Any = faiss.index_factory(self._size, f"{kind},{_CODES[self._choice.precision]}", metric)
        if self._choice.kind == "ivf":
            index.cp.min_points_per_centroid = 1  # a small collection's lists are as good as they can be: no warning
        else:
            index.hnsw.efConstruction = BUILD_WIDTH
        faiss.omp_set_num_threads(1)
        index.train(np.ascontiguousarray(vectors))
        self._index, self._made_for = index, count

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self._at)

    @property
    def added(self) -> int:
        """Number of vectors that were ever added."""
        return len(self._at.all)

    @property
    def dead(self) -> float:
        """Share of vectors that are removed and still there."""
        return self._at.dead

    @property
    def outgrown(self) -> bool:
        """Whether there are many more vectors than the lists were made for."""
        return self._choice.kind == "ivf" and len(self) > _OUTGROWN * self._made_for

    @property
    def rows(self) -> Rows:
        """The ids that are there, ascending; a copy."""
        return self._at.rows

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [N, size] under the ids rows [N], which ascend from beyond all that were ever added."""
        if len(rows):
            faiss.omp_set_num_threads(1)
            self._index.add(np.ascontiguousarray(vectors))
            self._at.append(rows)

    def remove(self, rows: Rows) -> None:
        """Remove these ids; one that is not there is no error."""
        self._at.remove(rows)

    def lacks(self, rows: Rows) -> Rows:
        """Those of `rows` that are not there."""
        return self._at.find(rows)[1]

    def best(
        self, vector: Vectors, count: int, only: Rows | None, *, exact: bool, width: int | None, fetch: Fetch
    ) -> Found:
        """About the `count` best for `vector` [size]; those, and all that tie with the last of them, for `exact`.

        `only` restricts the search to these rows. `width` is efSearch of a graph, and the number of lists looked at.
        """
        chosen, eligible = self._at.chosen(only)
        if exact or eligible <= max(count, _READ):
            rows = self.rows if only is None else np.setdiff1d(only, self.lacks(only), assume_unique=True)
            return self._of_all(vector, count, rows, fetch)
        wanted = min(eligible, _MORE[self._choice.precision] * count + 8)
        everything = eligible < _FEW * self.added
        faiss.omp_set_num_threads(self._threads)
        selector = None if chosen is None else Selector(chosen)
        _, at = self._propose(vector[None], wanted, width, selector, everything)
        places = at[0][at[0] >= 0]
        if len(places) < min(count, eligible) and not everything:  # the graph's ways, or the lists, held fewer
            _, at = self._propose(vector[None], wanted, width, selector, True)
            places = at[0][at[0] >= 0]
        return self._of_all(vector, count, np.sort(self._at.all[places]), fetch)

    def _propose(
        self, vectors: Vectors, wanted: int, width: int | None, selector: Selector | None, everything: bool
    ) -> tuple[Vectors, Rows]:
        parameters: Any
        index = self._index
        if self._choice.kind == "ivf":
            parameters = faiss.SearchParametersIVF()
            usual = max(1, round(_LISTS * index.nlist))
            parameters.nprobe = index.nlist if everything else min(width or usual, index.nlist)
        elif everything:
            parameters, index = faiss.SearchParameters(), index.storage
        else:
            parameters = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # the stubs lack it
            parameters.efSearch = max(width or search_width(self.added), wanted)
        if selector is not None:
            parameters.sel = selector.sel
        found: tuple[Vectors, Rows] = index.search(vectors, wanted, params=parameters)
        return found

    def _of_all(self, vector: Vectors, count: int, rows: Rows, fetch: Fetch) -> Found:
        """The best of these rows, by their vectors."""
        found = Found(rows[:0], np.empty(0, np.float32), np.empty((0, self._size), np.float32))
        for start in range(0, len(rows), _BLOCK):
            there, vectors = fetch(rows[start : start + _BLOCK])
            found = found.joined(Found(there, scores(vector, vectors, self._distance), vectors))
            badness = found.scores if self._distance == "Euclid" else -found.scores
            if len(badness) > count:
                good = badness <= np.partition(badness, count - 1)[count - 1]
                found = Found(found.rows[good], found.scores[good], found.vectors[good])
        return found

    def links(self) -> tuple[Rows, npt.NDArray[np.uint8]]:
        """All ids that were ever added, in the index's order, and the index with its codes, as FAISS writes it."""
        return self._at.all.copy(), faiss.serialize_index(self._index)

    def link(self, rows: Rows, links: npt.NDArray[np.uint8], alive: Rows) -> None:
        """Become the index that `links` gave `rows` and `links` of; of these rows, `alive` are not removed.

        ValueError for those of another index.
        """
        index: Any = faiss.deserialize_index(links)
        kind = faiss.IndexIVF if self._choice.kind == "ivf" else faiss.IndexHNSW
        if not issubclass(type(index), kind) or index.ntotal != len(rows) or index.d != self._size:
            raise ValueError("these are the links of another index")
        if self._choice.kind != "ivf":
            index.hnsw.efConstruction = BUILD_WIDTH
        self._index, self._made_for = index, len(rows)
        self._at = Places.of(rows, np.isin(rows, alive))
