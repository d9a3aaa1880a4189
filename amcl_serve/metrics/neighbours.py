"""Who is nearest to whom: the basis of hubness, near duplicates and the overlap of two models' neighbours.

Shapes: N images, D dims, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import features_of, unit_rows
from amcl_serve.metrics.knn import most_similar

_CHUNK_BYTES = 64 * 1024 * 1024  # of one block of the similarity matrix


@dataclass(frozen=True)
class Neighbours:
    """Each image's K most similar others, the nearest first: numbers [N, K], their cosines [N, K]."""

    index: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float32]


def neighbours(features: npt.ArrayLike, k: int) -> Neighbours:
    """By cosine of features [N, D], an image not its own neighbour; of equals the earlier image first.

    Memory is bounded: a block of rows at a time. ValueError for empty or non-finite features, and for a k that is not
    in [1, N − 1].
    """
    unit_ND = unit_rows(features_of(features, np.float32))
    count = len(unit_ND)
    if not 1 <= k < count:
        raise ValueError(f"k must lie in [1, {count - 1}], the number of other images; got {k}")
    index, cosine = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    rows = max(1, _CHUNK_BYTES // (4 * count))
    for start in range(0, count, rows):
        sim_NN = unit_ND[start : start + rows] @ unit_ND.T
        own = np.arange(len(sim_NN))
        sim_NN[own, start + own] = -2  # below every cosine
        index[start : start + rows] = most_similar(sim_NN, k)
        cosine[start : start + rows] = np.take_along_axis(sim_NN, index[start : start + rows], axis=1)
    return Neighbours(index, cosine.clip(-1, 1))


def k_occurrence(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often each image [N] is among the K neighbours [N, K] of others."""
    return np.bincount(index.ravel(), minlength=len(index))


def hubness(index: npt.NDArray[np.int64]) -> float:
    """Skewness of the k-occurrence (Radovanović et al. 2010): 0 where even, above 1 where few images are near all.

    The third standardised moment, biased; NaN where all occur equally often.
    """
    return skewness(k_occurrence(index))


def skewness(values: npt.NDArray[np.int64]) -> float:
    """The third standardised moment of `values` [N], biased; NaN where all are equal."""
    off = values - values.mean()
    variance = float(np.mean(off**2))
    return float(np.mean(off**3) / variance**1.5) if variance > 0 else float("nan")


def shared(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of the K neighbours of each image [N] that two models agree on, whatever their order: of two [N, K]."""
    if one.shape != other.shape:
        raise ValueError(f"neighbours of the same images are compared, not {one.shape} and {other.shape}")
    count = [len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(one, other, strict=True)]
    share: npt.NDArray[np.float64] = np.array(count, np.float64) / one.shape[1]
    return share
