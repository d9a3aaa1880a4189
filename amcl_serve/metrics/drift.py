"""How far two embeddings of the same images agree on what is like what; pure NumPy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def neighbour_overlap(a: Collection[object], b: Collection[object]) -> float:
    """Share of neighbours that two lists of distinct ones have in common, of the longer's length; 1 for two empty."""
    longest = max(len(a), len(b))
    return len(set(a) & set(b)) / longest if longest else 1.0


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two series [N], ties at their mean rank; NaN where one of them is constant.

    ValueError for series of different lengths.

    >>> rank_correlation(np.array([0.1, 0.5, 0.9]), np.array([1.0, 8.0, 9.0]))
    1.0
    """
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"two series of the same length are compared, not {list(a.shape)} and {list(b.shape)}")
    x, y = (ranks - ranks.mean() if len(ranks) else ranks for ranks in (_ranks(a), _ranks(b)))
    norm = np.sqrt((x @ x) * (y @ y))
    return float(np.clip((x @ y) / norm, -1, 1)) if norm > 0 else float("nan")


def _ranks(values: Floats) -> npt.NDArray[np.float64]:
    """Ranks from 0, equal values at the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts + 1) / 2)[inverse]
    return ranks
