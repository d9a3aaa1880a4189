"""Retrieval: how early images of the query's class come when the bank is sorted by cosine similarity.

Shapes: M images in the bank, N queries, D dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_CHUNK_BYTES = 64 * 1024 * 1024  # of one block of similarities; the order of each takes twice as much


@dataclass(frozen=True)
class Retrieval:
    """Quality of the ranking, each number in [0, 1]."""

    recall: dict[int, float]  # k -> share of queries with an image of their class among the first k
    mean_average_precision: float  # over the whole bank


def retrieval(
    bank_features: npt.ArrayLike,
    bank_labels: npt.ArrayLike,
    query_features: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    *,
    k: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """Sort the bank by cosine similarity to each query; an image is relevant when it has the query's label.

    Recall at k is the share of queries with a relevant image among the first k. Average precision of a query with R
    relevant images at ranks r_1 < … < r_R is (1/R) Σ_i i / r_i (Manning et al. 2008, section 8.4); a query without any
    counts 0. Of equally similar images the earlier one in the bank comes first.

    Takes features [M, D] and [N, D] (any scale) and labels [M] and [N]. Memory is bounded: queries are ranked a block
    at a time. Raises ValueError for empty, mismatched or non-finite input and for a k that is not in [1, M].

    >>> retrieval([[1, 0], [0, 1], [1, 1]], ["a", "b", "a"], [[0, 1]], ["a"], k=[1, 2])
    Retrieval(recall={1: 0.0, 2: 1.0}, mean_average_precision=0.5833333333333333)
    """
    bank_MD, bank_names_M = _checked(bank_features, bank_labels, "bank")
    query_ND, query_names_N = _checked(query_features, query_labels, "query")
    if bank_MD.shape[1] != query_ND.shape[1]:
        raise ValueError(f"bank features have {bank_MD.shape[1]} dims, query features {query_ND.shape[1]}")
    if not k or min(k) < 1 or max(k) > len(bank_MD):
        raise ValueError(f"k must lie in [1, {len(bank_MD)}], the number of images in the bank; got {list(k)}")
    rank_M = np.arange(1, len(bank_MD) + 1)
    found = dict.fromkeys(k, 0)
    total = 0.0
    rows = max(1, _CHUNK_BYTES // (4 * len(bank_MD)))
    for start in range(0, len(query_ND), rows):
        order_NM = np.argsort(-(query_ND[start : start + rows] @ bank_MD.T), axis=1, kind="stable")
        for order_M, name in zip(order_NM, query_names_N[start : start + rows], strict=True):
            ranks_R = rank_M[bank_names_M[order_M] == name]
            if len(ranks_R):
                total += float(np.mean(rank_M[: len(ranks_R)] / ranks_R))
                for each in k:
                    found[each] += int(ranks_R[0] <= each)
    count = len(query_ND)
    return Retrieval({each: hits / count for each, hits in found.items()}, total / count)


def _checked(
    features: npt.ArrayLike, labels: npt.ArrayLike, which: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Unit-norm float32 features, and the labels as numbers or text."""
    rows, names = np.asarray(features, dtype=np.float32), np.asarray(labels)
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"{which} features must be a non-empty [images, dims] array, not one of shape {rows.shape}")
    if names.shape != rows.shape[:1]:
        raise ValueError(f"{len(rows)} {which} features need as many labels in one dimension, not {names.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{which} features hold NaN or infinity")
    norm: npt.NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
    norm[norm == 0] = 1
    return rows / norm, names
