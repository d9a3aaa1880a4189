"""What is known so far of a collection's near duplicates: grown by pieces, and never the truth.

Equal vectors, as the copies of one file have, are one content: only the first row of each is compared. So a file that
is there ten thousand times makes no fifty million pairs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.analysis.directions import Directions, directions, read
from amcl_serve.vectors.analysis.pairs import MAX_PAIRS, NO_PAIRS, TILE, Comparer, Pairs, joined
from amcl_serve.vectors.analysis.steps import Steps
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows, Vectors

PIECE_BYTES = 64 << 20  # of vectors that are compared with all before them, and held meanwhile
BLOCK_BYTES = 16 << 20  # of vectors before them that are read at a time
KEPT_BYTES = 256 << 20  # of all that is known of all collections, but for the last
_DIGEST = 16  # bytes


@dataclass(frozen=True)
class Known:
    """The pairs with a cosine of `threshold` or more of all points in `rows` [N].

    `contents` [N] says which rows have equal vectors: it is the number of the row that had it first. Pairs are of
    contents. `digests` [N] are of the vectors' bytes.
    """

    threshold: float
    rows: Rows
    contents: Rows
    digests: npt.NDArray[np.bytes_]
    pairs: Pairs

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.rows, self.contents, self.digests, self.pairs.a, self.pairs.b, self.pairs.cosines)
        return sum(array.nbytes for array in arrays)

    def among(self, chosen: npt.NDArray[np.bool_]) -> Known:
        """Of the chosen rows alone."""
        contents = self.contents[chosen]
        there = np.isin(self.pairs.a, contents) & np.isin(self.pairs.b, contents)
        return Known(self.threshold, self.rows[chosen], contents, self.digests[chosen], self.pairs.where(there))

    def above(self, threshold: float) -> Known:
        """By a threshold that is not lower."""
        pairs = self.pairs.where(self.pairs.cosines >= np.float32(threshold))
        return replace(self, threshold=threshold, pairs=pairs)


def nothing(threshold: float) -> Known:
    """Of no points."""
    rows = np.empty(0, np.int64)
    return Known(threshold, rows, rows, np.empty(0, f"S{_DIGEST}"), NO_PAIRS)


class Memory:
    """What is known of the collections, as much as there is room for. Safe to call from any thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Hashable, float], Known] = OrderedDict()  # the last used is the last

    def best(self, key: Hashable, threshold: float) -> Known:
        """What holds the pairs of a threshold, of the most points."""
        found = [
            known for (of, least), known in list(self._known.items()) if of == key and least <= threshold
        ]  # a copy: other threads may put
        return max(found, key=lambda known: len(known.rows), default=nothing(threshold))

    def put(self, key: Hashable, known: Known) -> None:
        """Keep it, and let go of what was used least lately where there is no room for all."""
        self._known[key, known.threshold] = known
        self._known.move_to_end((key, known.threshold))
        while len(self._known) > 1 and sum(each.nbytes for each in list(self._known.values())) > KEPT_BYTES:
            self._known.popitem(last=False)


def grown(known: Known, scan: Scan, comparer: Comparer, keep: Callable[[Known], None]) -> Steps[Known]:
    """What is known of all points of the scan; `keep` is given what is known after each piece.

    Points that are deleted meanwhile are left out.
    """
    known = known.among(np.isin(known.rows, scan.rows, assume_unique=True))
    todo = np.setdiff1d(scan.rows, known.rows, assume_unique=True)
    piece = max(1, PIECE_BYTES // (4 * scan.info.size))
    done, total = 0.0, _work(len(known.rows), len(todo))
    while len(todo):
        share = _work(len(known.rows), min(piece, len(todo))) / total
        known, again = yield from _with_piece(known, scan, todo[:piece], comparer, done, share)
        todo = np.union1d(todo[piece:], again)
        done = min(1.0, done + share)
        keep(known)
    return known


def _work(before: int, new: int) -> float:
    """Pairs to look at."""
    return new * (before + new / 2)


def _with_piece(
    known: Known, scan: Scan, new: Rows, comparer: Comparer, done: float, share: float
) -> Steps[tuple[Known, Rows]]:
    """`known` with the points `new` too, and rows to be looked at again: what they were known by was deleted."""
    rows, vectors = scan.vectors(new)
    digests = _digests(vectors)
    contents = _contents(known, rows, digests)
    fresh = contents == rows  # not seen before
    those = directions(rows[fresh], vectors[fresh], unit=scan.info.distance == "Cosine")
    first = _firsts(known)
    left = MAX_PAIRS - len(known.pairs)
    parts: list[Pairs] = [known.pairs]
    total, seen = _work(len(first), len(those)), 0.0
    for found in comparer.within(those, known.threshold, left):
        parts.append(found)
        left -= len(found)
        seen = min(seen + TILE * TILE, len(those) ** 2 / 2)
        yield min(1.0, done + share * seen / total)
    seen = len(those) ** 2 / 2
    lost: list[Rows] = []
    block = max(1, BLOCK_BYTES // (4 * scan.info.size))
    for start in range(0, len(first), block) if len(those) else ():
        asked = first[start : start + block]
        before = read(scan, asked)
        lost.append(np.setdiff1d(asked, before.rows, assume_unique=True))
        # Pairs are of contents, and a content may have lost the row that it is called by.
        named = Directions(_content_of(known, before.rows), before.units, before.squares)
        for found in comparer.across(named, those, known.threshold, left):
            parts.append(found)
            left -= len(found)
            yield min(1.0, done + share * seen / total)
        seen += len(those) * len(asked)
    order = np.argsort(np.concatenate([known.rows, rows]), kind="stable")
    grown = Known(
        known.threshold,
        np.concatenate([known.rows, rows])[order],
        np.concatenate([known.contents, contents])[order],
        np.concatenate([known.digests, digests])[order],
        joined(parts),
    )
    gone = np.concatenate([*lost, np.empty(0, np.int64)])
    unsure = np.isin(grown.contents, _content_of(known, gone))
    again = np.setdiff1d(grown.rows[unsure], gone, assume_unique=True)
    return grown.among(~unsure), again


def _digests(vectors: Vectors) -> npt.NDArray[np.bytes_]:
    return np.array([blake2b(vector, digest_size=_DIGEST).digest() for vector in vectors], f"S{_DIGEST}")


def _contents(known: Known, rows: Rows, digests: npt.NDArray[np.bytes_]) -> Rows:
    """The contents of rows [N] with these digests: known ones, or the first of the rows that has each."""
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    contents = rows[first][which]
    if len(known.rows):
        seen, at = np.unique(known.digests, return_index=True)
        place = np.minimum(np.searchsorted(seen, digests), len(seen) - 1)
        there = seen[place] == digests
        contents[there] = known.contents[at[place[there]]]
    return contents


def _firsts(known: Known) -> Rows:
    """One row of each content, ascending."""
    _, first = np.unique(known.contents, return_index=True)
    return np.sort(known.rows[first])


def _content_of(known: Known, rows: Rows) -> Rows:
    return known.contents[np.searchsorted(known.rows, rows)]
