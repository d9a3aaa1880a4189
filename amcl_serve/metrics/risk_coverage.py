"""Selective prediction: the risk of the answers that are kept when the least certain ones are left out.

Shapes: N answers, each right or wrong and with a confidence.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def risk_at_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Risk [N]: entry k − 1 is the share of wrong answers among the k most confident (El-Yaniv & Wiener 2010).

    Takes confidences [N], any increasing scale, and [N] true for right answers. Of equally confident answers none comes
    before another: each counts with their mean error. Raises ValueError for empty, mismatched or non-finite input.

    >>> risk_at_coverage([0.9, 0.5, 0.7], [True, False, True]).round(3).tolist()
    [0.0, 0.0, 0.333]
    """
    values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if values.ndim != 1 or values.size == 0 or right.shape != values.shape:
        raise ValueError(
            f"confidences must be a non-empty one-dimensional array with as many answers, "
            f"not of shapes {values.shape} and {right.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("confidences hold NaN or infinity")
    if not np.isin(right, (0, 1)).all():
        raise ValueError("answers must be right or wrong: true or false")
    _, tie_N = np.unique(-values, return_inverse=True)
    error_of_tie = np.bincount(tie_N, weights=1.0 - right) / np.bincount(tie_N)
    error_N = error_of_tie[np.sort(tie_N)]  # from the most confident to the least
    risk: npt.NDArray[np.float64] = np.cumsum(error_N) / np.arange(1, len(values) + 1)
    return risk


def area_under_risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """AURC, the mean of `risk_at_coverage` over all coverages (Geifman et al. 2019): lower is better.

    0 where nothing is wrong; a confidence that says nothing gives the overall error.

    >>> area_under_risk_coverage([0.9, 0.5, 0.7], [True, False, True])
    0.1111111111111111
    """
    return float(risk_at_coverage(confidence, correct).mean())
