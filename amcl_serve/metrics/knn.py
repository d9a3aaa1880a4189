"""Accuracy of a nearest-neighbour classifier on frozen features, by cosine similarity.

Shapes: M training images, N test images, D dims, K neighbours, L classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import labelled, unit_rows

Weighting = Literal["uniform", "exponential"]

_CHUNK_BYTES = 256 * 1024 * 1024  # of one block of the similarity matrix

TEMPERATURE = 0.1  # of the votes, in every figure that is called kNN here


@overload
def knn_accuracy(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: int = 20,
    weighting: Weighting = "exponential",
    temperature: float = TEMPERATURE,
) -> float: ...


@overload
def knn_accuracy(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: Sequence[int],
    weighting: Weighting = "exponential",
    temperature: float = TEMPERATURE,
) -> dict[int, float]: ...


def knn_accuracy(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: int | Sequence[int] = 20,
    weighting: Weighting = "exponential",
    temperature: float = TEMPERATURE,
) -> float | dict[int, float]:
    """Share of test images whose label wins the vote of their `k` most similar training images.

    Similarity s is the cosine; a neighbour's vote counts exp(s / temperature) when `exponential` (Wu et al. 2018,
    "Unsupervised feature learning via non-parametric instance discrimination", section 3.4) and 1 when `uniform`.
    Ties are settled the same way every time: of equally similar neighbours the earlier training image is taken, of
    classes with equal votes the smaller label.

    Takes features [M, D] and [N, D] (any scale; a zero vector has cosine 0 with everything) and labels [M] and [N]
    (integers or strings). Memory is bounded: similarities are computed a block of test images at a time. Returns one
    accuracy in [0, 1], or one for each k when `k` is a sequence. Raises ValueError for empty, mismatched or
    non-finite input and for a k that is not in [1, M].

    >>> knn_accuracy([[1, 0], [0, 1]], [7, 8], [[2, 0.1]], [7], k=1)
    1.0
    """
    names_N = np.asarray(test_labels)
    named = knn_labels(
        train_features,
        train_labels,
        test_features,
        test_labels,
        k=(k,) if isinstance(k, int) else tuple(k),
        weighting=weighting,
        temperature=temperature,
    )
    accuracy = {each: float(np.mean(found_N == names_N)) for each, found_N in named.items()}
    return accuracy[k] if isinstance(k, int) else accuracy


def knn_labels(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: Sequence[int],
    weighting: Weighting = "exponential",
    temperature: float = TEMPERATURE,
) -> dict[int, npt.NDArray[Any]]:
    """The label [N] that wins each test image's vote, for each k; the rest as `knn_accuracy`."""
    ks = tuple(k)
    train_MD, train_labels_M = labelled(train_features, train_labels, "training")
    test_ND, _ = labelled(test_features, test_labels, "test")
    if train_MD.shape[1] != test_ND.shape[1]:
        raise ValueError(f"training features have {train_MD.shape[1]} dims, test features {test_ND.shape[1]}")
    if not ks or min(ks) < 1 or max(ks) > len(train_MD):
        raise ValueError(f"k must lie in [1, {len(train_MD)}], the number of training images; got {list(ks)}")
    if weighting not in ("uniform", "exponential"):
        raise ValueError(f"weighting must be uniform or exponential, not {weighting!r}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")

    train_MD, test_ND = unit_rows(train_MD), unit_rows(test_ND)
    classes, class_of_M = np.unique(train_labels_M, return_inverse=True)
    found: dict[int, list[npt.NDArray[np.intp]]] = {each: [] for each in ks}
    rows = max(1, _CHUNK_BYTES // (4 * len(train_MD)))
    for start in range(0, len(test_ND), rows):
        sim_NM = test_ND[start : start + rows] @ train_MD.T
        near_NK = most_similar(sim_NM, max(ks))
        vote_NK = np.ones(near_NK.shape)
        if weighting == "exponential":
            # Relative to the nearest, so that no temperature overflows; a row's votes keep their ratios.
            near_sim_NK = np.take_along_axis(sim_NM, near_NK, axis=1).astype(np.float64)
            vote_NK = np.exp((near_sim_NK - near_sim_NK[:, :1]) / temperature)
        for each in ks:
            found[each].append(_winners(class_of_M[near_NK[:, :each]], vote_NK[:, :each], len(classes)))
    return {each: classes[np.concatenate(parts)] for each, parts in found.items()}


def most_similar(sim_NM: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """Indices [N, K] of each row's `k` largest entries, largest first, equal ones in order of index."""
    count = sim_NM.shape[1]
    if k == count:
        return np.argsort(-sim_NM, axis=1, kind="stable")
    near_NK = np.argpartition(sim_NM, count - k, axis=1)[:, count - k :]
    near_NK.sort(axis=1)
    last_N1 = np.take_along_axis(sim_NM, near_NK, axis=1).min(axis=1, keepdims=True)
    # Which of several equal entries argpartition keeps at the edge is its own affair: settle those rows by index.
    for row in np.flatnonzero(np.count_nonzero(sim_NM >= last_N1, axis=1) > k):
        near_NK[row] = np.sort(np.argsort(-sim_NM[row], kind="stable")[:k])
    order_NK = np.argsort(-np.take_along_axis(sim_NM, near_NK, axis=1), axis=1, kind="stable")
    ordered_NK: npt.NDArray[np.intp] = np.take_along_axis(near_NK, order_NK, axis=1)
    return ordered_NK


def _winners(class_NK: npt.NDArray[np.intp], vote_NK: npt.NDArray[np.float64], classes: int) -> npt.NDArray[np.intp]:
    """The class [N] with the most votes in each row; the smallest of equals."""
    cell_NK = class_NK + classes * np.arange(len(class_NK))[:, None]
    votes = np.bincount(cell_NK.ravel(), weights=vote_NK.ravel(), minlength=classes * len(class_NK))
    winner_N: npt.NDArray[np.intp] = np.argmax(votes.reshape(len(class_NK), classes), axis=1)
    return winner_N
