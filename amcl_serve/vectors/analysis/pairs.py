"""All pairs of vectors whose cosine reaches a threshold, exactly: each is looked at, tile by tile, in FAISS.

Its float32 products propose, with a margin for their rounding; cosines that are summed in float64 decide. Memory is
bounded by the tiles and by the number of pairs, never by all products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import faiss
import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.analysis.directions import Directions, Floats, cosines
from amcl_serve.vectors.analysis.steps import in_order
from amcl_serve.vectors.types import Rows

MAX_PAIRS = 5_000_000  # of one call: 100 MB
TILE = 2048  # rows and columns of a product: 16 MB
_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Pairs:
    """P pairs, each once: the rows [P] of one and of the other, and their cosines float32 [P]."""

    a: Rows
    b: Rows
    cosines: Floats

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.a)

    def where(self, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Pairs:
        """Those that are chosen."""
        return Pairs(self.a[chosen], self.b[chosen], self.cosines[chosen])


NO_PAIRS = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def joined(parts: list[Pairs]) -> Pairs:
    """All of them, one after another."""
    if not parts:
        return NO_PAIRS
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "cosines")))


class Comparer:
    """Compares vectors in `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def across(self, left: Directions, right: Directions, threshold: float, most: int) -> Iterator[Pairs]:
        """Pairs of one of `left` and one of `right`, tile by tile; InvalidRequest for more than `most`."""
        tiles = product(range(0, len(left), TILE), range(0, len(right), TILE))
        yield from self._tiles(left, right, threshold, most, tiles)

    def within(self, those: Directions, threshold: float, most: int) -> Iterator[Pairs]:
        """Pairs of two of `those`, tile by tile; InvalidRequest for more than `most`."""
        starts = range(0, len(those), TILE)
        tiles = ((i, j) for i, j in product(starts, starts) if i <= j)
        yield from self._tiles(those, those, threshold, most, tiles)

    def _tiles(
        self, left: Directions, right: Directions, threshold: float, most: int, tiles: Iterator[tuple[int, int]]
    ) -> Iterator[Pairs]:
        jobs = (partial(_tile, left, right, threshold, *tile) for tile in tiles)
        for found in in_order(self._threads, jobs):
            most -= len(found)
            if most < 0:
                raise too_many(threshold)
            yield found


def too_many(threshold: float) -> InvalidRequest:
    """The error of a threshold that too many pairs reach."""
    return InvalidRequest(
        f"more than {MAX_PAIRS} pairs have a cosine of {threshold:.4f} or more: ask with a higher threshold, or for "
        "fewer points by a filter"
    )


def _tile(left: Directions, right: Directions, threshold: float, first: int, second: int) -> Pairs:
    """The pairs of one tile; of one and the same vectors those above the diagonal."""
    rows, columns = left.part(first, first + TILE), right.part(second, second + TILE)
    size = rows.units.shape[1]
    faiss.omp_set_num_threads(1)  # of this thread alone: there are others, each with a tile
    index = faiss.IndexFlatIP(size)
    index.add(columns.units)
    # |rounding of a float32 product| <= size eps / 2 in the worst order of its sum, and as much again to be sure.
    ends, _, j = index.range_search(rows.units, threshold - (size + 4) * _EPS)
    i = np.repeat(np.arange(len(rows)), np.diff(ends).astype(np.int64))
    if left is right and first == second:
        above = i < j
        i, j = i[above], j[above]
    found = cosines(rows, columns, i, j)
    good = found >= np.float32(threshold)
    return Pairs(rows.rows[i[good]], columns.rows[j[good]], found[good])
