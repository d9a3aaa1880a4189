"""Clusters of embeddings beside labels: k-means (by FAISS), mutual information, Rand index, purity.

Legend: N images, R clusters, L classes.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import features_of, unit_rows

Numbers = npt.NDArray[np.int64]


def k_means(features: npt.ArrayLike, clusters: int, *, seed: int = 0, iterations: int = 20) -> Numbers:
    """The cluster [N] of each of features [N, D] on the unit sphere: spherical k-means, the best of three starts.

    ValueError for empty or non-finite features and for clusters not in [1, N].
    """
    unit_ND = unit_rows(features_of(features, np.float32))
    if not 1 <= clusters <= len(unit_ND):
        raise ValueError(f"clusters must lie in [1, {len(unit_ND)}], the number of images; got {clusters}")
    means = faiss.Kmeans(
        unit_ND.shape[1],
        clusters,
        niter=iterations,
        nredo=3,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, -(-len(unit_ND) // clusters)),
    )
    means.train(unit_ND)
    _, nearest = means.index.search(unit_ND, 1)
    found: Numbers = nearest[:, 0].astype(np.int64)
    return found


def normalised_mutual_information(labels: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """2 I(L; R) / (H(L) + H(R)) of labels and clusters [N], in [0, 1]; 1 where both are one group, as scikit-learn."""
    table_LR = contingency(labels, clusters)
    total = table_LR.sum()
    rows, columns = table_LR.sum(1), table_LR.sum(0)
    entropy = _entropy(rows) + _entropy(columns)
    if entropy == 0:
        return 1.0
    filled = table_LR > 0
    share = table_LR[filled] / total
    expected = np.outer(rows, columns)[filled] / total**2
    return float(np.clip(2 * np.sum(share * np.log(share / expected)) / entropy, 0, 1))


def adjusted_rand_index(labels: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """Hubert & Arabie 1985, of labels and clusters [N]: 1 for the same groups, 0 on average for random ones."""
    table_LR = contingency(labels, clusters).astype(np.float64)
    both, rows, columns, total = (
        float((each * (each - 1) / 2).sum())
        for each in (table_LR, table_LR.sum(1), table_LR.sum(0), np.array([table_LR.sum()]))
    )
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return (both - expected) / (most - expected) if most != expected else 1.0


def purity(labels: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """Share of images [N] that have the commonest label of their cluster."""
    table_LR = contingency(labels, clusters)
    return float(table_LR.max(axis=0).sum() / table_LR.sum())


def contingency(labels: npt.ArrayLike, clusters: npt.ArrayLike) -> Numbers:
    """How many images [L, R] of each class are in each cluster. ValueError for empty or mismatched input."""
    names, groups = np.asarray(labels), np.asarray(clusters)
    if names.ndim != 1 or not len(names) or names.shape != groups.shape:
        raise ValueError(f"as many labels as clusters are needed, not {names.shape} and {groups.shape}")
    (_, row), (_, column) = (np.unique(each, return_inverse=True) for each in (names, groups))
    count = int(column.max()) + 1
    flat: Numbers = np.bincount(row * count + column, minlength=(int(row.max()) + 1) * count)
    return flat.reshape(-1, count)


def _entropy(counts: npt.NDArray[Any]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-np.sum(share * np.log(share)))
