"""The index of a collection: a graph of most of a large one, and the rest, which is looked at one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from amcl_serve.vectors.index.exact import ExactIndex, Found
from amcl_serve.vectors.index.graph import GraphIndex
from amcl_serve.vectors.index.snapshots import Snapshot
from amcl_serve.vectors.types import Distance, Rows, Vectors


class Parts:
    """What is added comes to the rest, which whoever grows the graph moves into it.

    Any number of threads may search at a time, none while one changes anything.
    """

    def __init__(self, size: int, distance: Distance, threads: int = 1) -> None:
        self.size, self.distance = size, distance
        self._new = (size, distance, threads)
        self.rest = ExactIndex(*self._new)
        self.graph: GraphIndex | None = None

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
        self, vector: Vectors, count: int, only: Rows | None = None, *, exact: bool = False, width: int | None = None
    ) -> Found:
        """The `count` best and all that tie with the last of them, in no set order; but for `exact`, about those.

        `only` restricts the search to these rows.
        """
        found = self.rest.search(vector, count, only)
        if self.graph is None:
            return found
        others = self.graph.search(vector, count, only) if exact else self.graph.near(vector, count, only, width)
        return Found(np.concatenate([found.rows, others.rows]), np.concatenate([found.scores, others.scores]))

    def lacks(self, rows: Rows) -> Rows:
        """Those of `rows` that are not there."""
        missing = self.rest.lacks(rows)
        return missing if self.graph is None else self.graph.lacks(missing)

    def new_graph(self) -> GraphIndex:
        """An empty graph for the same vectors."""
        return GraphIndex(*self._new)

    def vectors(self, rows: Rows) -> tuple[Rows, Vectors]:
        """Those of `rows`, ascending, that are there, and their vectors [N, size]."""
        here = np.setdiff1d(rows, self.rest.lacks(rows), assume_unique=True)
        if self.graph is None or len(here) == len(rows):
            return here, self.rest.vectors(here)
        there = np.setdiff1d(rows, self.graph.lacks(rows), assume_unique=True)
        both = np.concatenate([there, here])  # those of the graph came before all of the rest
        return both, np.concatenate([self.graph.vectors(there), self.rest.vectors(here)])

    def use(self, graph: GraphIndex) -> None:
        """Search by this graph, which has some of the vectors, from now on; the rest is what it lacks."""
        everything = self.rows
        graph.remove(np.setdiff1d(graph.rows, everything, assume_unique=True))
        rows, vectors = self.vectors(graph.lacks(everything))
        rest = ExactIndex(*self._new)
        rest.add(rows, vectors)
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
        graph = self.new_graph()

        def joined() -> Iterator[tuple[Rows, Vectors]]:
            for rows, found in vectors:
                places = np.minimum(np.searchsorted(kept.rows, rows), len(kept.rows) - 1)
                known = kept.rows[places] == rows
                self.rest.add(rows[~known], found[~known])
                if known.any():
                    yield rows[known], found[known]

        graph.link(kept.rows, kept.links, joined())
        self.graph = graph

    @property
    def rows(self) -> Rows:
        """The ids that are there, ascending; a copy."""
        rest = self.rest.rows
        return rest if self.graph is None else np.concatenate([self.graph.rows, rest])
