"""The index of a collection: that of most of a large one, and the rest, which is looked at one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from amcl_serve.vectors.index.coded import SAMPLED, CodedIndex, Fetch, lists
from amcl_serve.vectors.index.exact import ExactIndex, Found
from amcl_serve.vectors.index.graph import GraphIndex
from amcl_serve.vectors.index.names import Names
from amcl_serve.vectors.index.pages import Memory
from amcl_serve.vectors.index.snapshots import Snapshot
from amcl_serve.vectors.types import USUAL_INDEX, Distance, IndexChoice, Rows, Vectors

_SAMPLE = 20_000  # vectors, from which a graph's codes learn their range
_READ = 4096  # vectors read at once


class Parts:
    """What is added comes to the rest, which whoever grows the graph (or the lists: `choice`) moves into it.

    Any number of threads may search at a time, none while one changes anything.
    """

    def __init__(self, size: int, distance: Distance, threads: int = 1, choice: IndexChoice = USUAL_INDEX) -> None:
        self.size, self.distance, self.choice = size, distance, choice
        self._threads = threads
        self.rest = self._empty()
        self.graph: GraphIndex | CodedIndex | None = None
        self.names: Names | None = None  # of all points, once they are read

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.rest) + self.in_graph

    @property
    def in_graph(self) -> int:
        """Number of vectors that the graph has."""
        return 0 if self.graph is None else len(self.graph)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [N, size] under the ids rows [N], which ascend from beyond all that were ever added."""
        self.rest.add(rows, vectors)

    def remove(self, rows: Rows) -> None:
        """Remove these ids; one that is not there is no error."""
        self.rest.remove(rows)
        if self.graph is not None:
            self.graph.remove(rows)

    def search(
        self,
        vector: Vectors,
        count: int,
        only: Rows | None = None,
        *,
        exact: bool = False,
        width: int | None = None,
        fetch: Fetch,
    ) -> Found:
        """The `count` best and all that tie with the last of them, in no set order; but for `exact`, about those.

        `only` restricts the search to these rows; `fetch` reads vectors, of which an index may have codes alone.
        """
        if self.graph is None:
            return self.rest.search(vector, count, only)
        found = self.graph.best(vector, count, only, exact=exact, width=width, fetch=fetch)
        return found.joined(self.rest.search(vector, count, only)) if len(self.rest) else found

    def lacks(self, rows: Rows) -> Rows:
        """Those of `rows` that are not there."""
        missing = self.rest.lacks(rows)
        return missing if self.graph is None else self.graph.lacks(missing)

    def vectors(self, rows: Rows, fetch: Fetch) -> tuple[Rows, Vectors]:
        """Those of `rows`, ascending, that are there, and their vectors [N, size]."""
        here = np.setdiff1d(rows, self.rest.lacks(rows), assume_unique=True)
        if self.graph is None or len(here) == len(rows):
            return here, self.rest.vectors(here)
        there = np.setdiff1d(rows, self.graph.lacks(rows), assume_unique=True)
        if isinstance(self.graph, CodedIndex):
            there, vectors = fetch(there)
        else:
            vectors = self.graph.vectors(there)
        # Those of the graph came before all of the rest.
        return np.concatenate([there, here]), np.concatenate([vectors, self.rest.vectors(here)])

    def new_graph(self, fetch: Fetch) -> GraphIndex | CodedIndex:
        """An empty graph for these vectors."""
        if not self.choice.coded:
            return GraphIndex(self.size, self.distance, self._threads)
        graph = CodedIndex(self.size, self.distance, self.choice, self._threads)
        rows = self.rows
        wanted = min(len(rows), max(_SAMPLE, SAMPLED * lists(len(rows)) if self.choice.kind == "ivf" else 0))
        chosen = np.sort(np.random.default_rng(0).choice(rows, wanted, replace=False))
        graph.train(self.vectors(chosen, fetch)[1], len(rows))
        return graph

    def use(self, graph: GraphIndex | CodedIndex) -> None:
        """Search by this graph, which has some of the vectors, from now on; the rest is what it lacks.

        It was made of all that were there: what it lacks has come since.
        """
        everything = self.rows
        graph.remove(np.setdiff1d(graph.rows, everything, assume_unique=True))
        missing = graph.lacks(everything)
        assert not len(self.rest.lacks(missing))
        rest = self._empty()
        rest.add(missing, self.rest.vectors(missing))
        self.rest, self.graph = rest, graph

    def move(self, count: int) -> None:
        """Move the first `count` vectors of the rest into the graph."""
        assert self.graph is not None
        rows = self.rest.rows[:count]
        self.graph.add(rows, self.rest.vectors(rows))
        self.rest.remove(rows)

    def restore(self, kept: Snapshot, vectors: Iterable[tuple[Rows, Vectors]]) -> None:
        """Become the index of `vectors`, ids that ascend from part to part and vectors of each: those that `kept` joins
        as its graph, the others as the rest. ValueError where that is no graph of such vectors.
        """
        graph = GraphIndex(self.size, self.distance, self._threads)

        def joined() -> Iterator[tuple[Rows, Vectors]]:
            for rows, found in vectors:
                places = np.minimum(np.searchsorted(kept.rows, rows), len(kept.rows) - 1)
                known = kept.rows[places] == rows
                if known.all():
                    yield rows, found
                    continue
                self.rest.add(rows[~known], found[~known])
                if known.any():
                    yield rows[known], found[known]

        graph.link(kept.rows, kept.links, joined())
        self.graph = graph

    def restore_coded(self, kept: Snapshot, rows: Rows, fetch: Fetch) -> None:
        """The same of an index that has its codes itself: of `rows`, ascending, it reads those that `kept` lacks."""
        graph = CodedIndex(self.size, self.distance, self.choice, self._threads)
        graph.link(kept.rows, kept.links, rows)
        missing = graph.lacks(rows)
        for start in range(0, len(missing), _READ):
            self.rest.add(*fetch(missing[start : start + _READ]))
        self.graph = graph

    @property
    def memory(self) -> Memory:
        """Where most of the vectors are."""
        return self.graph.memory if isinstance(self.graph, GraphIndex) else self.rest.memory

    @property
    def rows(self) -> Rows:
        """The ids that are there, ascending; a copy."""
        rest = self.rest.rows
        return rest if self.graph is None else np.concatenate([self.graph.rows, rest])

    def _empty(self) -> ExactIndex:
        return ExactIndex(self.size, self.distance, self._threads)
