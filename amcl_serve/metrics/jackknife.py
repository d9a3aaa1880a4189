"""95 % intervals by leaving groups out, for figures that a bootstrap would bias: drawn twice, images lower a rank.

Legend: N images, D dims, G groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import unit_rows
from amcl_serve.metrics.geometry import alpha_of, rank_of, singular_of
from amcl_serve.metrics.neighbours import skewness

GROUPS = 10
_QUANTILE = 2.262  # of Student's t with GROUPS − 1 degrees of freedom, 97.5 %

Numbers = npt.NDArray[np.int64]


def interval(value: float, left_out: npt.ArrayLike) -> tuple[float, float]:
    """`value` ± t √((G − 1)/G Σ (θ_g − mean θ)²), θ_g [G] without group g (Tukey 1958); NaN if one is."""
    found = np.asarray(left_out, np.float64)
    count = len(found)
    half = _QUANTILE * float(np.sqrt((count - 1) / count * ((found - found.mean()) ** 2).sum()))
    return value - half, value + half


def groups(count: int, seed: int = 0) -> Numbers:
    """The group of each of `count` images [N], by chance, as many in each as in another or one more."""
    return np.random.default_rng(seed).permutation(count) % GROUPS


def spectra(features: npt.NDArray[np.float32], group: Numbers) -> dict[str, npt.NDArray[np.float64]]:
    """RankMe ("rankme"), α-ReQ ("alpha_req") and spread ("feature_spread") of features [N, D] without each group [G].

    By sums of products, so that a group costs no more than eigenvalues of [D, D].
    """
    rows = features.astype(np.float64)
    parts = [rows[group == each] for each in range(GROUPS)]
    products, sums = [part.T @ part for part in parts], [part.sum(axis=0) for part in parts]
    units = [unit_rows(part) for part in parts]
    unit_sums, unit_squares = [each.sum(axis=0) for each in units], [(each**2).sum(axis=0) for each in units]
    found: dict[str, list[float]] = {"rankme": [], "alpha_req": [], "feature_spread": []}
    for each in range(GROUPS):
        count = len(rows) - len(parts[each])
        product, mean = sum(products) - products[each], (sum(sums) - sums[each]) / count
        found["rankme"].append(rank_of(singular_of(product, count)))
        found["alpha_req"].append(
            alpha_of(singular_of(product - count * np.outer(mean, mean), count), np.trace(product))
        )
        unit_mean = (sum(unit_sums) - unit_sums[each]) / count
        variance = (sum(unit_squares) - unit_squares[each]) / count - unit_mean**2
        found["feature_spread"].append(float(np.sqrt(variance.clip(0)).mean()))
    return {name: np.array(values) for name, values in found.items()}


def uniformities(features: npt.NDArray[np.float32], group: Numbers) -> npt.NDArray[np.float64]:
    """`metrics.geometry.uniformity` of features [N, D], without each group [G]."""
    units = [unit_rows(features[group == each]) for each in range(GROUPS)]
    sums = np.zeros((GROUPS, GROUPS))
    for one, other in _couples():
        # In float32: a thousandth of what leaving a group out changes.
        sums[one, other] = sums[other, one] = np.exp(np.minimum(4 * (units[one] @ units[other].T) - 4, 0)).sum(
            dtype=np.float64
        )
    counts = np.array([len(each) for each in units])
    left = len(group) - counts
    total = sums.sum() - 2 * sums.sum(axis=1) + sums.diagonal()
    values: npt.NDArray[np.float64] = np.log((total - left) / (left * (left - 1)))
    return values


def hubnesses(index: Numbers, group: Numbers) -> npt.NDArray[np.float64]:
    """Hubness from the K neighbours [N, K] of each, without each group [G], whose images neither ask nor are found."""
    found = []
    for each in range(GROUPS):
        kept = group != each
        found.append(skewness(np.bincount(index[kept].ravel(), minlength=len(index))[kept]))
    return np.array(found)


def _couples() -> Iterator[tuple[int, int]]:
    return ((one, other) for one in range(GROUPS) for other in range(one, GROUPS))
