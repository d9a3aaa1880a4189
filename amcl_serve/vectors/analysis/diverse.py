"""A diverse subset: points so chosen that none of the others is far from all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.analysis.directions import Floats, read
from amcl_serve.vectors.analysis.known import BLOCK_BYTES
from amcl_serve.vectors.analysis.steps import Steps, in_order, of_several
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows, Vectors

MAX_BYTES = 512 << 20  # of vectors to choose from, which are held meanwhile
_LOADING = 0.1  # share of the steps


@dataclass(frozen=True)
class Subset:
    """Rows [K] in the order in which they were chosen.

    `distances` [K] is 1 - cosine of each to the nearest chosen before it (NaN of the first), `radius` that of the worst
    point left to the nearest of all chosen (0 if none is left).
    """

    rows: Rows
    distances: Floats
    radius: float


def diverse(scan: Scan, limit: int, threads: int) -> Steps[Subset]:
    """Greedy k-centre (Gonzalez, 1985): the point nearest to the mean, then each time the one farthest from all chosen.

    The largest angle from any point to its nearest chosen one is at most twice what `limit` points can reach. Ties go
    to the oldest. Zero vectors count as at right angles to all. InvalidRequest where there is more than can be held.
    """
    most = MAX_BYTES // (4 * scan.info.size)
    if len(scan.rows) > most:
        raise InvalidRequest(
            f"a diverse subset is chosen of at most {most} points of size {scan.info.size}, and there are "
            f"{len(scan.rows)}: choose by a filter"
        )
    rows, units = yield from of_several(0, _LOADING, _loaded(scan))
    limit = min(limit, len(rows))
    chosen: list[int] = []
    distances: list[float] = []
    nearest = np.full(len(rows), -np.inf, np.float32)  # cosine to the nearest chosen point
    parts = list(zip(np.array_split(units, threads), np.array_split(nearest, threads), strict=True))
    if limit:
        near_mean = np.concatenate([_cosines(part, units.mean(axis=0)) for part, _ in parts])
        chosen.append(int(np.argmax(near_mean)))
        distances.append(float("nan"))
    while chosen:
        for _ in in_order(threads, [partial(_bring_nearer, *part, units[chosen[-1]]) for part in parts]):
            pass
        nearest[chosen[-1]] = np.inf  # never again
        if len(chosen) == limit:
            break
        chosen.append(int(np.argmin(nearest)))
        distances.append(_distance(nearest[chosen[-1]]))
        yield _LOADING + (1 - _LOADING) * len(chosen) / limit
    radius = _distance(nearest.min(initial=np.inf))
    return Subset(rows[chosen], np.array(distances, np.float32), radius)


def _bring_nearer(units: Vectors, nearest: Floats, to: Vectors) -> None:
    """Let `nearest` [N] be the higher of itself and of the products of units [N, D] with `to` [D]."""
    np.maximum(nearest, _cosines(units, to), out=nearest)


def _cosines(units: Vectors, to: Vectors) -> Floats:
    """By FAISS in this thread; NumPy's BLAS takes as many threads as it likes."""
    found = np.empty(len(units), np.float32)
    pointers = [faiss.swig_ptr(array) for array in (found, np.ascontiguousarray(to), units)]
    faiss.fvec_inner_products_ny(*pointers, units.shape[1], len(units))  # type: ignore[attr-defined]
    return found


def _distance(cosine: float) -> float:
    return float(np.clip(1 - cosine, 0, 2))


def _loaded(scan: Scan) -> Steps[tuple[Rows, Vectors]]:
    units = np.empty((len(scan.rows), scan.info.size), np.float32)
    rows: list[Rows] = []
    end = 0
    block = max(1, BLOCK_BYTES // (4 * scan.info.size))
    for start in range(0, len(scan.rows), block):
        yield start / len(scan.rows)
        part = read(scan, scan.rows[start : start + block])
        rows.append(part.rows)
        units[end : end + len(part)] = part.units
        end += len(part)
    return np.concatenate([*rows, np.empty(0, np.int64)]), units[:end]
