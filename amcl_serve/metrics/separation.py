"""How well a score tells positive pairs from negative ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Separation:
    """Two sets of scores side by side: how far apart, and the histograms to draw them."""

    auroc: float  # chance that a positive scores above a negative, ties counting half
    overlap: float  # shared area of the two histograms, in [0, 1]
    positives_below_half: float  # share of positives whose score is under 0.5
    edges: npt.NDArray[np.float64]  # [bins + 1], common to both
    positive_counts: npt.NDArray[np.int64]  # [bins]
    negative_counts: npt.NDArray[np.int64]  # [bins]


def separation(positive: npt.ArrayLike, negative: npt.ArrayLike, *, bins: int = 50) -> Separation:
    """Compare the scores of positive pairs [P] with those of negative pairs [Q].

    The histograms have `bins` bins of equal width between the lowest and the highest score of both; their overlap is
    Σ min(p, q) of the shares in each bin. Raises ValueError for empty or non-finite scores and for bins < 1.
    """
    scores_P, scores_Q = _scores(positive, "positive"), _scores(negative, "negative")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    both = np.concatenate([scores_P, scores_Q])
    edges = np.histogram_bin_edges(both, bins=bins)
    positive_counts, _ = np.histogram(scores_P, edges)
    negative_counts, _ = np.histogram(scores_Q, edges)
    shared = np.minimum(positive_counts / len(scores_P), negative_counts / len(scores_Q))
    return Separation(
        auroc=auroc(scores_P, scores_Q),
        overlap=float(shared.sum()),
        positives_below_half=float(np.mean(scores_P < 0.5)),
        edges=edges,
        positive_counts=positive_counts,
        negative_counts=negative_counts,
    )


def auroc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Area under the ROC curve from scores [P] and [Q], by ranks (Mann-Whitney U); equal scores count half.

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    scores_P, scores_Q = _scores(positive, "positive"), _scores(negative, "negative")
    values, index = np.unique(np.concatenate([scores_P, scores_Q]), return_inverse=True)
    count = np.bincount(index, minlength=len(values))
    mean_rank = np.cumsum(count) - (count - 1) / 2  # of each distinct score, ranks starting at 1
    rank_sum = mean_rank[index[: len(scores_P)]].sum()
    wins = rank_sum - len(scores_P) * (len(scores_P) + 1) / 2
    return float(wins / (len(scores_P) * len(scores_Q)))


def _scores(scores: npt.ArrayLike, which: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{which} scores must be a non-empty one-dimensional array, not one of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{which} scores hold NaN or infinity")
    return values
