"""From a pair's score to the probability that both images show the same thing, and how far to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Reliability:
    """What probabilities are worth, on pairs that did not fit them."""

    brier: float  # mean squared error against 0 / 1
    expected_calibration_error: float  # |confidence − frequency| of each bin, weighted by the bin's pairs
    accuracy: float  # of the verdict probability >= threshold
    bin_confidence: npt.NDArray[np.float64]  # [bins], mean probability; NaN where the bin is empty
    bin_frequency: npt.NDArray[np.float64]  # [bins], share of positives; NaN where the bin is empty
    bin_count: npt.NDArray[np.int64]  # [bins]


def fit_calibration(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """Slope and intercept of p = 1 / (1 + exp(−(slope · score + intercept))), by maximum likelihood.

    Takes scores [P] and labels [P] (true for a positive pair). The targets are Platt's (1999): (n₊ + 1) / (n₊ + 2) for
    positives and 1 / (n₋ + 2) for negatives, because with 0 and 1 the slope runs to infinity when a score separates
    the pairs perfectly. Solved by damped Newton steps on standardised scores. Raises ValueError for empty, mismatched
    or non-finite input, for labels of one kind only, and for scores that are all the same.
    """
    x, is_positive = _checked(scores, labels)
    positives = int(is_positive.sum())
    negatives = len(x) - positives
    if positives == 0 or negatives == 0:
        raise ValueError("calibration needs positive and negative pairs; got one kind only")
    centre, scale = x.mean(), x.std()
    if scale <= 1e-12 * max(1.0, abs(centre)):
        raise ValueError("calibration needs scores that differ; all are the same")
    target = np.where(is_positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([(x - centre) / scale, np.ones_like(x)], axis=1)
    weights = np.zeros(2)
    loss = _cross_entropy(design @ weights, target)
    for _ in range(100):
        p = _sigmoid(design @ weights)
        gradient = design.T @ (p - target)
        if np.abs(gradient).max() <= 1e-10 * len(x):
            break
        # The small ridge keeps the step finite where every p is close to 0 or 1; it moves no fixed point.
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * len(x) * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10 and _cross_entropy(design @ (weights - size * step), target) > loss:
            size /= 2
        weights = weights - size * step
        loss = _cross_entropy(design @ weights, target)
    slope = weights[0] / scale
    return float(slope), float(weights[1] - slope * centre)


def probability(scores: npt.ArrayLike, *, slope: float, intercept: float) -> npt.NDArray[np.float64]:
    """p = 1 / (1 + exp(−(slope · score + intercept))), of the scores' shape; no overflow at any score."""
    return _sigmoid(slope * np.asarray(scores, dtype=np.float64) + intercept)


def score_of(p: float, *, slope: float, intercept: float) -> float:
    """The score whose probability is `p`: the inverse of `probability`. ValueError unless 0 < p < 1 and slope > 0."""
    if not 0 < p < 1 or not slope > 0:
        raise ValueError(f"no score: p is between 0 and 1 and the slope above 0, not {p} and {slope}")
    return (math.log(p / (1 - p)) - intercept) / slope


def reliability(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = 10, threshold: float = 0.5
) -> Reliability:
    """Brier score, expected calibration error (`bins` bins of equal width) and accuracy of probabilities [P].

    Labels [P] are true for positive pairs. Raises ValueError for empty, mismatched or non-finite input, for
    probabilities outside [0, 1] and for bins < 1.
    """
    p, is_positive = _checked(probabilities, labels)
    if p.min() < 0 or p.max() > 1:
        raise ValueError("probabilities must lie in [0, 1]")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    filled = np.where(count > 0, count, np.nan)
    confidence = np.bincount(bin_of, weights=p, minlength=bins) / filled
    frequency = np.bincount(bin_of, weights=is_positive, minlength=bins) / filled
    return Reliability(
        brier=float(np.mean((p - is_positive) ** 2)),
        expected_calibration_error=float(np.nansum(np.abs(confidence - frequency) * count) / len(p)),
        accuracy=float(np.mean((p >= threshold) == is_positive)),
        bin_confidence=confidence,
        bin_frequency=frequency,
        bin_count=count,
    )


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"scores must be a non-empty one-dimensional array, not one of shape {values.shape}")
    if flags.shape != values.shape:
        raise ValueError(f"{len(values)} scores need as many labels, not labels of shape {flags.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity")
    if not np.isin(flags, (0, 1)).all():
        raise ValueError("labels must be true or false")
    return values, flags.astype(bool)


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 0.5 + 0.5 * np.tanh(x / 2)  # the logistic function, without overflow or underflow


def _cross_entropy(logits: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> float:
    return float(np.sum(np.logaddexp(0, logits) - target * logits))
