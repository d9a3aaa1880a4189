"""Retrieval: how early images of the query's class come when the bank is sorted by cosine similarity.

Shapes: M images in the bank, N queries, D dims; R relevant images of a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import labelled, unit_rows

_CHUNK_BYTES = 64 * 1024 * 1024  # of one block of similarities; the order of each takes twice as much

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Retrieval:
    """Quality of the ranking, each number in [0, 1]."""

    recall: dict[int, float]  # k -> share of queries with an image of their class among the first k
    mean_average_precision: float  # over the whole bank


@dataclass(frozen=True)
class Rankings:
    """What each query found, [N] each; 0 for a query without relevant images, but `first`, which is then M + 1."""

    first: npt.NDArray[np.int64]  # rank of the first relevant image, from 1
    relevant: npt.NDArray[np.int64]  # R
    average_precision: Floats
    r_precision: Floats  # share of relevant ones among the first R
    map_at_r: Floats  # average precision of which only the first R count (Musgrave et al. 2020)
    ndcg: Floats  # Σ 1/log2(rank + 1) of relevant ones, less than or equal to the best order's (Järvelin 2002)


def retrieval(
    bank_features: npt.ArrayLike,
    bank_labels: npt.ArrayLike,
    query_features: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    *,
    k: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """Sort the bank by cosine similarity to each query; an image is relevant when it has the query's label.

    Recall at k is the share of queries with a relevant image among the first k; the rest is as `rankings`. ValueError
    also for a k that is not in [1, M].

    >>> retrieval([[1, 0], [0, 1], [1, 1]], ["a", "b", "a"], [[0, 1]], ["a"], k=[1, 2])
    Retrieval(recall={1: 0.0, 2: 1.0}, mean_average_precision=0.5833333333333333)
    """
    found = rankings(bank_features, bank_labels, query_features, query_labels)
    bank = len(np.asarray(bank_labels))
    if not k or min(k) < 1 or max(k) > bank:
        raise ValueError(f"k must lie in [1, {bank}], the number of images in the bank; got {list(k)}")
    recall = {each: float(np.mean(found.first <= each)) for each in k}
    return Retrieval(recall, float(found.average_precision.mean()))


def rankings(
    bank_features: npt.ArrayLike, bank_labels: npt.ArrayLike, query_features: npt.ArrayLike, query_labels: npt.ArrayLike
) -> Rankings:
    """What each query finds when the bank is sorted by cosine; an image is relevant when it has the query's label.

    Average precision of a query with R relevant images at ranks r_1 < … < r_R is (1/R) Σ_i i / r_i (Manning et al.
    2008, section 8.4); MAP@R counts those with r_i ≤ R alone. Of equally similar images the earlier one in the bank
    comes first.

    Takes features [M, D] and [N, D] (any scale) and labels [M] and [N]. Memory is bounded: queries are ranked a block
    at a time. Raises ValueError for empty, mismatched or non-finite input.
    """
    parts = list(ranking_parts(bank_features, bank_labels, query_features, query_labels))
    return Rankings(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def ranking_parts(
    bank_features: npt.ArrayLike, bank_labels: npt.ArrayLike, query_features: npt.ArrayLike, query_labels: npt.ArrayLike
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats, Floats, Floats]]:
    """The columns of `rankings`, a block of queries at a time."""
    bank_MD, bank_names_M = labelled(bank_features, bank_labels, "bank")
    query_ND, query_names_N = labelled(query_features, query_labels, "query")
    if bank_MD.shape[1] != query_ND.shape[1]:
        raise ValueError(f"bank features have {bank_MD.shape[1]} dims, query features {query_ND.shape[1]}")
    bank_MD, query_ND = unit_rows(bank_MD), unit_rows(query_ND)
    # Numbers for the names, because text is slow to compare and each query is compared with the whole bank.
    _, numbers = np.unique(np.concatenate([bank_names_M, query_names_N]), return_inverse=True)
    bank_class_M, query_class_N = numbers[: len(bank_MD)], numbers[len(bank_MD) :]
    rank_M = np.arange(1, len(bank_MD) + 1)
    gain_M = 1 / np.log2(rank_M + 1)
    best_M = np.cumsum(gain_M)
    rows = max(1, _CHUNK_BYTES // (4 * len(bank_MD)))
    for start in range(0, len(query_ND), rows):
        order_NM = np.argsort(-(query_ND[start : start + rows] @ bank_MD.T), axis=1, kind="stable")
        count = len(order_NM)
        first, relevant = np.full(count, len(bank_MD) + 1), np.zeros(count, np.int64)
        figures = np.zeros((4, count))
        for row, (order_M, class_) in enumerate(zip(order_NM, query_class_N[start : start + rows], strict=True)):
            ranks_R = rank_M[bank_class_M[order_M] == class_]
            if total := len(ranks_R):
                precision_R = rank_M[:total] / ranks_R
                among = ranks_R <= total
                first[row], relevant[row] = ranks_R[0], total
                figures[:, row] = (
                    precision_R.mean(),
                    among.mean(),
                    precision_R[among].sum() / total,
                    gain_M[ranks_R - 1].sum() / best_M[total - 1],
                )
        yield first, relevant, *figures
