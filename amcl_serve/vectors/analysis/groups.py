"""Groups of points that are duplicates: what pairs connect, or what has the same hash of its content.

Shapes: N points, M of them in groups, G groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.analysis.directions import Floats
from amcl_serve.vectors.analysis.known import Known
from amcl_serve.vectors.analysis.steps import Steps
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows

_READ = 256  # payloads at a time, of 64 KiB each at most


@dataclass(frozen=True)
class Groups:
    """Rows [M], group by group: the largest first, of equal ones that with the oldest point, which is its first.

    `nearest` [M] is each one's highest cosine with another of its group, NaN where that is not known. The g-th group
    is at the places starts[g] to before starts[g + 1]; `starts` [G + 1].
    """

    rows: Rows
    nearest: Floats
    starts: Rows

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[tuple[Rows, Floats]]:
        """Each group's rows and their `nearest`."""
        for start, stop in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            yield self.rows[start:stop], self.nearest[start:stop]


def by_cosine(known: Known) -> Groups:
    """The connected components of the pairs."""
    pairs = known.pairs
    contents, which, copies = np.unique(known.contents, return_inverse=True, return_counts=True)
    a, b = np.searchsorted(contents, pairs.a), np.searchsorted(contents, pairs.b)
    nearest = np.where(copies > 1, np.float32(1), np.float32(-1))
    np.maximum.at(nearest, a, pairs.cosines)
    np.maximum.at(nearest, b, pairs.cosines)
    return _groups(known.rows, components(len(contents), a, b)[which], nearest[which])


def by_hash(scan: Scan, key: str) -> Steps[Groups]:
    """The points whose payloads have one and the same text at `key`, the names on the way divided by dots."""
    rows, digests = yield from hashes(scan, key)
    _, which = np.unique(digests, return_inverse=True)
    return _groups(rows, which, np.full(len(rows), np.nan, np.float32))


def hashes(scan: Scan, key: str) -> Steps[tuple[Rows, npt.NDArray[np.bytes_]]]:
    """The rows of points that have a text at `key`, ascending, and a digest of it."""
    rows: list[int] = []
    digests: list[bytes] = []
    names = key.split(".")
    for start in range(0, len(scan.rows), _READ):
        yield start / len(scan.rows)
        for row, point in sorted(scan.points(scan.rows[start : start + _READ]).items()):
            value: Any = point.payload
            for name in names:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str):
                rows.append(row)
                digests.append(blake2b(value.encode(), digest_size=16).digest())
    return np.array(rows, np.int64), np.array(digests, "S16")


def components(count: int, a: Rows, b: Rows) -> Rows:
    """The connected component of each of `count` nodes, named by its lowest node; edges are a[i] - b[i]."""
    root = np.arange(count)
    while True:
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        apart = low != high
        if not apart.any():
            return root
        np.minimum.at(root, high[apart], low[apart])
        while not np.array_equal(root, root[root]):
            root = root[root]


def _groups(rows: Rows, of: Rows, nearest: Floats) -> Groups:
    """Of rows ascending, which belong to the groups `of`; a group of one is none."""
    _, first, which, sizes = np.unique(of, return_index=True, return_inverse=True, return_counts=True)
    chosen = np.flatnonzero(sizes[which] > 1)
    oldest, size = first[which[chosen]], sizes[which[chosen]]
    chosen = chosen[np.lexsort((chosen, oldest, -size))]
    ends = np.cumsum(np.sort(sizes[sizes > 1])[::-1])
    return Groups(rows[chosen], nearest[chosen], np.concatenate([[0], ends]))
