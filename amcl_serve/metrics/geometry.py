"""How embeddings lie: alignment, uniformity, effective rank, decay of the spectrum, spread; of features [N, D]."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import features_of, unit_rows

_CHUNK_ROWS = 1024


def alignment(a: npt.ArrayLike, b: npt.ArrayLike, *, alpha: float = 2.0) -> float:
    """Mean of ‖aᵢ − bᵢ‖^alpha over pairs of views, both [N, D], after L2 normalisation; 0 is perfect.

    Wang & Isola 2020, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere". Raises ValueError for empty, mismatched or non-finite input.
    """
    a_ND, b_ND = _unit(a), _unit(b)
    if a_ND.shape != b_ND.shape:
        raise ValueError(f"the two sides of a pair need one shape; got {a_ND.shape} and {b_ND.shape}")
    return float(np.mean(np.linalg.norm(a_ND - b_ND, axis=1) ** alpha))


def uniformity(features: npt.ArrayLike, *, t: float = 2.0) -> float:
    """Log of the mean of exp(−t ‖xᵢ − xⱼ‖²) over all pairs i < j, after L2 normalisation.

    0 is collapse, lower is better (Wang & Isola 2020). Takes features [N, D], N ≥ 2; raises ValueError otherwise.
    """
    x_ND = _unit(features)
    count = len(x_ND)
    if count < 2:
        raise ValueError("uniformity needs at least two embeddings")
    total = 0.0
    for start in range(0, count, _CHUNK_ROWS):
        squared = np.maximum(2 - 2 * x_ND[start : start + _CHUNK_ROWS] @ x_ND.T, 0)
        total += float(np.exp(-t * squared).sum())
    # The full matrix counts each pair twice, and each embedding once with itself (distance 0).
    return float(np.log((total - count) / (count * (count - 1))))


def effective_rank(features: npt.ArrayLike) -> float:
    """exp of the entropy of the singular values' shares (RankMe, Garrido et al. 2023): from 1 to min(N, D).

    Takes raw features [N, D], neither centred nor normalised, as the paper does. Raises ValueError for empty or
    non-finite input; all-zero features have rank 0.
    """
    return rank_of(singular_values(features_of(features, np.float64)))


def singular_values(x_ND: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of x [N, D], the largest first; of many rows by their products, which takes a tenth of the time."""
    count, dims = x_ND.shape
    if count <= 2 * dims:
        return np.linalg.svd(x_ND, compute_uv=False).astype(np.float64)
    return singular_of(x_ND.T @ x_ND, count)


def singular_of(product_DD: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """The singular values of `count` rows whose products XᵀX [D, D] are; those that are but rounding are 0."""
    squared = np.linalg.eigvalsh(product_DD)[::-1][:count]
    least = len(product_DD) * np.finfo(np.float64).eps * max(float(squared[0]), 0.0)
    values: npt.NDArray[np.float64] = np.sqrt(np.where(squared > least, squared, 0.0))
    return values


def rank_of(values: npt.NDArray[np.float64]) -> float:
    """`effective_rank` of features with these singular values."""
    if values.sum() == 0:
        return 0.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def alpha_req(features: npt.ArrayLike, *, first: int = 4, last: int = 50) -> float:
    """Exponent α of the power law λᵢ ∝ i^(−α) that the eigenvalues of the features' covariance follow.

    Agrawal et al. 2022, "α-ReQ: assessing representation quality in self-supervised learning by measuring eigenspectrum
    decay": the best representations have α near 1; above it few dims hold all variance, below it noise fills them.
    Least squares of log λᵢ on log i over the ranks `first` to `last`, weighted by 1/i: the fit of Stringer et al. 2019
    that the authors' code uses, with one of its ranges. The range ends before eigenvalues that are zero but for
    rounding; NaN where fewer than three are left. Takes features [N, D]; raises ValueError for empty or non-finite
    input.
    """
    x_ND = features_of(features, np.float64)
    return alpha_of(singular_values(x_ND - x_ND.mean(axis=0)), float((x_ND**2).sum()), first, last)


def alpha_of(singular: npt.NDArray[np.float64], squares: float, first: int = 4, last: int = 50) -> float:
    """`alpha_req` of centred features with these singular values, the largest first; `squares`: Σ x² uncentred."""
    values = singular**2
    values = values[: int((values > 1e-12 * max(squares, 1e-300)).sum())][first - 1 : last]
    if len(values) < 3:
        return math.nan
    rank = np.arange(first, first + len(values), dtype=np.float64)
    slope = np.polyfit(np.log(rank), np.log(values), 1, w=rank**-0.5)[0]  # polyfit squares its weights
    return float(-slope)


def feature_spread(features: npt.ArrayLike) -> float:
    """Mean over dims of the standard deviation of L2-normalised features [N, D].

    0 when all embeddings are one, 1/√D when they fill the sphere evenly (Chen & He 2021, SimSiam, section 4.1).
    Raises ValueError for empty or non-finite input.
    """
    return float(_unit(features).std(axis=0).mean())


def _unit(features: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return unit_rows(features_of(features, np.float64))
