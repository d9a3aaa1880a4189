"""Leaks between two collections: points of one that are near, or equal, to points of the other."""

from __future__ import annotations

import numpy as np

from amcl_serve.vectors.analysis.directions import read
from amcl_serve.vectors.analysis.groups import hashes
from amcl_serve.vectors.analysis.known import BLOCK_BYTES, PIECE_BYTES
from amcl_serve.vectors.analysis.pairs import MAX_PAIRS, Comparer, Pairs, joined, too_many
from amcl_serve.vectors.analysis.steps import Steps, of_several
from amcl_serve.vectors.scan import Scan


def by_cosine(scan: Scan, other: Scan, threshold: float, comparer: Comparer) -> Steps[Pairs]:
    """Pairs of a point of `scan` (a) and one of `other` (b) whose cosine reaches the threshold, as `_ordered`."""
    parts: list[Pairs] = []
    left, done, total = MAX_PAIRS, 0, len(scan.rows) * len(other.rows)
    piece, block = (max(1, size // (4 * scan.info.size)) for size in (PIECE_BYTES, BLOCK_BYTES))
    for start in range(0, len(scan.rows), piece):
        those = read(scan, scan.rows[start : start + piece])
        for first in range(0, len(other.rows), block):
            against = read(other, other.rows[first : first + block])
            for found in comparer.across(those, against, threshold, left):
                parts.append(found)
                left -= len(found)
                yield done / total
            done += len(those) * len(against)
    return _ordered(joined(parts))


def by_hash(scan: Scan, other: Scan, key: str) -> Steps[Pairs]:
    """Pairs of a point of `scan` (a) and one of `other` (b) that have the same text at `key`; their cosines are NaN."""
    rows, digests = yield from of_several(0, 0.5, hashes(scan, key))
    others, theirs = yield from of_several(0.5, 0.5, hashes(other, key))
    order = np.argsort(theirs, kind="stable")
    start, stop = (np.searchsorted(theirs[order], digests, side) for side in ("left", "right"))
    counts = stop - start
    total = int(counts.sum())
    if total > MAX_PAIRS:
        raise too_many(1)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    b = others[order[np.repeat(start, counts) + within]]
    return _ordered(Pairs(np.repeat(rows, counts), b, np.full(total, np.nan, np.float32)))


def _ordered(pairs: Pairs) -> Pairs:
    """The oldest `a` first, of each the nearest `b` first."""
    order = np.lexsort((pairs.b, -pairs.cosines, pairs.a))
    return Pairs(pairs.a[order], pairs.b[order], pairs.cosines[order])
