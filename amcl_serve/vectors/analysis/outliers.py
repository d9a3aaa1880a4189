"""Outliers: the points whose nearest neighbours are far away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np

from amcl_serve.vectors.analysis.directions import Floats, read
from amcl_serve.vectors.analysis.known import BLOCK_BYTES, PIECE_BYTES
from amcl_serve.vectors.analysis.steps import Steps, in_order
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows, Vectors

_TOGETHER = 2048  # points whose neighbours are looked for at a time


@dataclass(frozen=True)
class Scored:
    """Rows [N] and their scores [N], best first."""

    rows: Rows
    scores: Floats


def outliers(scan: Scan, neighbours: int, limit: int, threads: int) -> Steps[Scored]:
    """The `limit` points with the lowest mean cosine to their `neighbours` nearest, lowest first, ties oldest first.

    That is the weighted k-nearest-neighbour score (Angiulli and Pizzuti, 2002) with cosines in place of distances. Each
    is compared with all. Where there are fewer points, all others are its neighbours; of a single point there is none.
    """
    rows: list[Rows] = []
    scores: list[Floats] = []
    count = min(neighbours, len(scan.rows) - 1)
    if count < 1:
        return Scored(np.empty(0, np.int64), np.empty(0, np.float32))
    done, total = 0, len(scan.rows) ** 2
    piece, block = (max(1, size // (4 * scan.info.size)) for size in (PIECE_BYTES, BLOCK_BYTES))
    for start in range(0, len(scan.rows), piece):
        those = read(scan, scan.rows[start : start + piece])
        best = np.full((len(those), count + 1), -np.inf, np.float32)  # itself is among them
        for first in range(0, len(scan.rows), block):
            against = read(scan, scan.rows[first : first + block]).units
            parts = [slice(at, at + _TOGETHER) for at in range(0, len(those) if len(against) else 0, _TOGETHER)]
            jobs = [partial(_nearest, best[part], those.units[part], against) for part in parts]
            for looked_at in in_order(threads, jobs):
                yield done / total
                done += looked_at
        rows.append(those.rows)
        near = best[:, 1:]
        there = np.isfinite(near)  # all, unless points were deleted meanwhile
        scores.append(near.sum(axis=1, where=there) / np.maximum(1, there.sum(axis=1)))
    every, score = np.concatenate(rows), np.concatenate(scores)
    order = np.lexsort((every, score))[:limit]
    return Scored(every[order], score[order].clip(-1, 1))


def _nearest(best: Floats, units: Vectors, against: Vectors) -> int:
    """Let `best` [N, K] be the highest of itself and of units [N, D] times `against`; how many pairs were looked at."""
    faiss.omp_set_num_threads(1)  # of this thread alone: there are others
    count = best.shape[1]
    near, _ = faiss.knn(units, against, min(count, len(against)), metric=faiss.METRIC_INNER_PRODUCT)
    best[:] = -np.sort(-np.concatenate([best, near], axis=1), axis=1)[:, :count]
    return len(units) * len(against)
