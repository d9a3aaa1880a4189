"""Retrieval: how early images of the query's class come when the bank is sorted by cosine similarity.

Shapes: M images in the bank, N queries, D dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import labelled, unit_rows

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
    bank_MD, bank_names_M = labelled(bank_features, bank_labels, "bank")
    query_ND, query_names_N = labelled(query_features, query_labels, "query")
    if bank_MD.shape[1] != query_ND.shape[1]:
        raise ValueError(f"bank features have {bank_MD.shape[1]} dims, query features {query_ND.shape[1]}")
    if not k or min(k) < 1 or max(k) > len(bank_MD):
        raise ValueError(f"k must lie in [1, {len(bank_MD)}], the number of images in the bank; got {list(k)}")
    bank_MD, query_ND = unit_rows(bank_MD), unit_rows(query_ND)
    # Numbers for the names, because text is slow to compare and each query is compared with the whole bank.
    _, numbers = np.unique(np.concatenate([bank_names_M, query_names_N]), return_inverse=True)
    bank_class_M, query_class_N = numbers[: len(bank_MD)], numbers[len(bank_MD) :]
    rank_M = np.arange(1, len(bank_MD) + 1)
    found = dict.fromkeys(k, 0)
    total = 0.0
    rows = max(1, _CHUNK_BYTES // (4 * len(bank_MD)))
    for start in range(0, len(query_ND), rows):
        order_NM = np.argsort(-(query_ND[start : start + rows] @ bank_MD.T), axis=1, kind="stable")
        for order_M, class_ in zip(order_NM, query_class_N[start : start + rows], strict=True):
            ranks_R = rank_M[bank_class_M[order_M] == class_]
            if len(ranks_R):
                total += float(np.mean(rank_M[: len(ranks_R)] / ranks_R))
                for each in k:
                    found[each] += int(ranks_R[0] <= each)
    count = len(query_ND)
    return Retrieval({each: hits / count for each, hits in found.items()}, total / count)
