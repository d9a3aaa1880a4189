"""A diverse subset: points so chosen that none of the others is far from all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.analysis.directions import Floats, read
from amcl_serve.vectors.analysis.known import BLOCK_BYTES
from amcl_serve.vectors.analysis.steps import Steps, of_several
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


def diverse(scan: Scan, limit: int) -> Steps[Subset]:
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
    if limit:
        chosen.append(int(np.argmax(units @ units.mean(axis=0, dtype=np.float64).astype(np.float32))))
        distances.append(float("nan"))
    while chosen:
        np.maximum(nearest, units @ units[chosen[-1]], out=nearest)
        nearest[chosen[-1]] = np.inf  # never again
        if len(chosen) == limit:
            break
        chosen.append(int(np.argmin(nearest)))
        distances.append(_distance(nearest[chosen[-1]]))
        yield _LOADING + (1 - _LOADING) * len(chosen) / limit
    radius = _distance(nearest.min(initial=np.inf))
    return Subset(rows[chosen], np.array(distances, np.float32), radius)


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
