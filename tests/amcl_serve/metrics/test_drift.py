from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from amcl_serve.metrics.drift import neighbour_overlap, rank_correlation


@pytest.mark.parametrize("values", [1000, 7])  # distinct numbers, and many ties
def test_rank_correlation_is_scipys(values: int) -> None:
    rng = np.random.default_rng(values)
    a = rng.integers(0, values, 300).astype(np.float32)
    b = a + rng.integers(0, values, 300)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(a, np.exp(a.astype(np.float64) / values)) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)


def test_what_has_no_order_has_no_correlation() -> None:
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert math.isnan(rank_correlation(np.array([]), np.array([])))
    with pytest.raises(ValueError, match="same length"):
        rank_correlation(np.ones(3), np.ones(4))


def test_neighbour_overlap() -> None:
    assert neighbour_overlap([1, 2, 3, 4], [4, 9, 1, 8]) == 0.5
    assert neighbour_overlap([1, 2], [1, 2, 3, 4]) == 0.5
    assert neighbour_overlap([], [5]) == 0
    assert neighbour_overlap([], []) == 1
