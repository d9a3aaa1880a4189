"""One score of a pair from its heads' similarities: a weighted mean.

Shapes: P pairs, C heads.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Weighting = Literal["mean", "inverse_variance", "weights"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)


def head_score(
    similarity: npt.ArrayLike,
    temperature: npt.ArrayLike,
    weighting: Weighting = "inverse_variance",
    weights: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """Σ_c w_c s_c / Σ_c w_c of each pair: cosines [P, C] and temperatures [P, C] -> [P], in [−1, 1].

    w_c is 1 for "mean"; 1/τ_c for "inverse_variance", since a temperature is a variance; and `weights` [C], the same
    for all pairs, for "weights". With one head it is the cosine itself, with a constant temperature the first two are
    one; so scores of models with different heads and temperatures share one scale. Raises ValueError for shapes that
    differ, for temperatures that are not positive, and for weights that are negative or all zero.

    >>> head_score([[0.9, 0.3]], [[0.1, 0.2]]).round(6)
    array([0.7])
    >>> head_score([[0.9, 0.3]], [[0.1, 0.2]], "weights", [1, 3]).round(6)
    array([0.45])
    """
    similarity_PC, temperature_PC = (np.asarray(each, dtype=np.float64) for each in (similarity, temperature))
    if similarity_PC.ndim != 2 or similarity_PC.shape != temperature_PC.shape:
        raise ValueError(
            f"similarities and temperatures must share one shape [pairs, heads]; "
            f"got {similarity_PC.shape} and {temperature_PC.shape}"
        )
    if not (temperature_PC > 0).all():
        raise ValueError("temperatures must be positive")
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting={weighting!r} is none of {', '.join(WEIGHTINGS)}")
    if weighting == "weights":
        weight_C = np.asarray(weights, dtype=np.float64)
        if weight_C.shape != similarity_PC.shape[1:] or not (weight_C >= 0).all() or not weight_C.any():
            raise ValueError(
                f"weights must be {similarity_PC.shape[1]} numbers of 0 or more, not all 0; got {weight_C}"
            )
        weight_PC = np.broadcast_to(weight_C, similarity_PC.shape)
    else:
        weight_PC = np.ones_like(similarity_PC) if weighting == "mean" else 1 / temperature_PC
    score_P: npt.NDArray[np.float64] = (similarity_PC * weight_PC).sum(axis=1) / weight_PC.sum(axis=1)
    return score_P.clip(-1, 1)


def log_density(
    similarity: npt.ArrayLike, temperature: npt.ArrayLike, *, beta: float, eta: float
) -> npt.NDArray[np.float64]:
    """Σ_c [s_c/τ_c − β(η log τ_c + 1/τ_c)] of each pair [P]: what joint training compares candidates by (ours).

    At β = 1 the log-density of C independent Gaussians of variance τ_c, up to a constant. It has no bounds.
    """
    s_PC, tau_PC = (np.asarray(each, dtype=np.float64) for each in (similarity, temperature))
    density_P: npt.NDArray[np.float64] = (s_PC / tau_PC - beta * (eta * np.log(tau_PC) + 1 / tau_PC)).sum(axis=1)
    return density_P


def head_correlation(similarity: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Pearson correlation [C, C] between the heads' similarities [P, C] of the same pairs; NaN for a constant head."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(np.asarray(similarity, np.float64), rowvar=False))


def mean_correlation(similarity: npt.ArrayLike) -> float:
    """Between two heads, the mean over the pairs of heads of `head_correlation`; C is at least 2.

    >>> mean_correlation([[0.1, 0.2], [0.2, 0.4], [0.5, 1.0]])
    1.0
    """
    matrix_CC = head_correlation(similarity)
    return float(matrix_CC[np.triu_indices(len(matrix_CC), 1)].mean())
