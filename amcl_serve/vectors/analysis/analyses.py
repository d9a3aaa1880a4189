"""The analyses of a process, and what they know of collections from one time to the next."""

from __future__ import annotations

from functools import partial

from amcl_serve.vectors.analysis import diverse, groups, known, leaks, outliers
from amcl_serve.vectors.analysis.groups import Groups
from amcl_serve.vectors.analysis.pairs import Comparer, Pairs
from amcl_serve.vectors.analysis.steps import Steps
from amcl_serve.vectors.scan import Scan


class Analyses:
    """Work in steps (`Steps`), which may be left at any of them. Safe to call from any thread.

    Cosines are of the vectors' directions, whatever the distance of the collection.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._comparer = Comparer(threads)
        self._memory = known.Memory()

    def duplicates(self, scan: Scan, cosine: float, *, whole: bool = True) -> Steps[Groups]:
        """Groups of near duplicates: what pairs with at least this cosine connect. Exact: each pair is looked at.

        Where the scan is of the `whole` collection, only points that have come since the last time are compared, with
        all; what comes of it is the same. A time that was broken off counts as far as it came. Points with equal
        vectors are duplicates in any case. InvalidRequest for more than `pairs.MAX_PAIRS`.
        """
        if whole:
            before, keep = self._memory.best(scan.key, cosine), partial(self._memory.put, scan.key)
            found = yield from known.grown(before.above(cosine), scan, self._comparer, keep)
        else:
            found = yield from known.grown(known.nothing(cosine), scan, self._comparer, lambda _: None)
        return groups.by_cosine(found)

    def same_hash(self, scan: Scan, key: str) -> Steps[Groups]:
        """Groups of points whose payloads have the same text at `key`."""
        return groups.by_hash(scan, key)

    def leaks(self, scan: Scan, other: Scan, cosine: float) -> Steps[Pairs]:
        """Pairs of a point of `scan` and one of `other`, of the same size, with at least this cosine. Exact.

        InvalidRequest for more than `pairs.MAX_PAIRS`.
        """
        return leaks.by_cosine(scan, other, cosine, self._comparer)

    def leaks_by_hash(self, scan: Scan, other: Scan, key: str) -> Steps[Pairs]:
        """Pairs of a point of `scan` and one of `other` whose payloads have the same text at `key`."""
        return leaks.by_hash(scan, other, key)

    def outliers(self, scan: Scan, neighbours: int, limit: int) -> Steps[outliers.Scored]:
        """The points whose nearest neighbours are least like them, as `outliers.outliers`."""
        return outliers.outliers(scan, neighbours, limit, self._threads)

    def diverse(self, scan: Scan, limit: int) -> Steps[diverse.Subset]:
        """A diverse subset, as `diverse.diverse`."""
        return diverse.diverse(scan, limit, self._threads)
