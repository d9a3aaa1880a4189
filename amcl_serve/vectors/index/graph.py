"""Approximate search by a graph of near neighbours: HNSW (Malkov and Yashunin 2018, arXiv 1603.09320)."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.index.exact import ExactIndex, Found
from amcl_serve.vectors.index.places import Places, Selector
from amcl_serve.vectors.types import Distance, Rows, Vectors

NEIGHBOURS = 16  # M: of a vector on each layer but the lowest, which has twice as many
BUILD_WIDTH = 80  # efConstruction
SEARCH_WIDTH = 96  # efSearch, at least; twice the number that is asked for where that is more
_GROWS, _WIDEST = 250_000, 512  # vectors, beyond which it grows in proportion: of a million, 96 find nine in ten
_FEW = 0.1  # share of the vectors below which those that a filter lets through are looked at one by one


class GraphIndex(ExactIndex):
    """An ExactIndex, whose `search` looks at all vectors, with a graph beside them that `near` follows."""

    _compacts = False  # the graph names vectors by their places
    outgrown = False  # a graph is as good for any number of vectors

    def __init__(self, size: int, distance: Distance, threads: int = 1) -> None:
        super().__init__(size, distance, threads)
        metric = faiss.METRIC_L2 if distance == "Euclid" else faiss.METRIC_INNER_PRODUCT
        self._graph: faiss.IndexHNSW = faiss.IndexHNSWFlat(size, NEIGHBOURS, metric)
        self._graph.hnsw.efConstruction = BUILD_WIDTH
        flat = faiss.downcast_index(self._graph.storage)
        assert isinstance(flat, faiss.IndexFlat)
        self._index = flat
        self._usual = _parameters(
            SEARCH_WIDTH
        )  # the last ones, kept: making them takes as long as a hundredth of a search

    @property
    def added(self) -> int:
        """Number of vectors that were ever added."""
        return len(self._at.all)

    def links(self) -> tuple[Rows, npt.NDArray[np.uint8]]:
        """All ids that were ever added, in the graph's order, and the graph without its vectors, as FAISS writes it."""
        return self._at.all.copy(), faiss.serialize_index(self._graph, faiss.IO_FLAG_SKIP_STORAGE)

    def link(self, rows: Rows, links: npt.NDArray[np.uint8], vectors: Iterable[tuple[Rows, Vectors]]) -> None:
        """Become the graph that `links` gave `rows` and `links` of; what `vectors` lacks of `rows` counts as removed.

        `vectors`: ids, ascending from part to part, and vectors [N, size] of each. ValueError for other links.
        """
        graph = faiss.deserialize_index(links, faiss.IO_FLAG_SKIP_STORAGE)
        if not isinstance(graph, faiss.IndexHNSW) or graph.ntotal != len(rows) or graph.d != self._size:
            raise ValueError("these are the links of another graph")
        flat: Any = faiss.IndexFlatL2(self._size) if self._distance == "Euclid" else faiss.IndexFlatIP(self._size)
        # A fifth of the time of reading the vectors, the first of which come meanwhile:
        with ThreadPoolExecutor(1) as pool:
            zeros = pool.submit(flat.codes.resize, len(rows) * self._size * 4)  # which stand for what is gone
            parts = iter(vectors)
            begun = list(islice(parts, 1))
            zeros.result()
        flat.ntotal = len(rows)
        room = faiss.rev_swig_ptr(flat.get_xb(), len(rows) * self._size).reshape(-1, self._size)
        alive = np.zeros(len(rows), np.bool_)
        for part, found in chain(begun, parts):
            places = np.searchsorted(rows, part)
            assert (rows[places] == part).all()
            first, last = int(places[0]), int(places[-1]) + 1
            room[slice(first, last) if last - first == len(part) else places] = found
            alive[places] = True
        graph.storage, graph.own_fields = flat, False
        graph.hnsw.efConstruction = BUILD_WIDTH
        self._index, self._graph, self._at, self._everything = flat, graph, Places.of(rows, alive), None
        self._find_giants(np.flatnonzero(alive))

    def best(
        self,
        vector: Vectors,
        count: int,
        only: Rows | None,
        *,
        exact: bool,
        width: int | None,
        fetch: object,  # noqa: ARG002
    ) -> Found:
        """`search` for `exact`, else `near`. It has its vectors, and fetches none."""
        return self.search(vector, count, only) if exact else self.near(vector, count, only, width)

    def near(self, vector: Vectors, count: int, only: Rows | None = None, width: int | None = None) -> Found:
        """About the `count` best for `vector` [size], with the scores of `scores`; `width` is efSearch."""
        chosen, eligible = self._at.chosen(only)
        if eligible <= max(count, _FEW * self.added):
            return self.search(vector, count, only)
        wide = max(width or search_width(self.added), 2 * count)
        parameters = self._usual
        if chosen is not None or wide != parameters.efSearch:
            parameters = _parameters(wide)
            if chosen is None:
                self._usual = parameters
        if chosen is not None:
            selector = Selector(chosen)
            parameters.sel = selector.sel
        faiss.omp_set_num_threads(self._threads)
        # FAISS's own `search` does the same, and takes a hundredth of the time of a large graph's more.
        vector = np.ascontiguousarray(vector, np.float32)
        near, at = np.empty(count, np.float32), np.empty(count, np.int64)
        swig = faiss.swig_ptr
        self._graph.search_c(1, swig(vector), count, swig(near), swig(at), parameters)  # type: ignore[attr-defined]
        if at.item(-1) < 0:  # the graph's ways did not lead to as many
            return self.search(vector, count, only)
        return self._found(at, vector)

    def _append(self, vectors: Vectors) -> None:
        faiss.omp_set_num_threads(1)
        self._graph.add(vectors)


def search_width(count: int) -> int:
    """efSearch of a graph of so many vectors, unless told."""
    return min(_WIDEST, max(SEARCH_WIDTH, SEARCH_WIDTH * count // _GROWS))


def _parameters(width: int) -> Any:
    made = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # the stubs lack it
    made.efSearch = width
    return made
