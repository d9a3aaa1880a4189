"""Neighbours, hubs and their overlap against loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import skew

from amcl_serve.metrics.neighbours import hubness, k_occurrence, neighbours, shared


def test_neighbours_equal_loops_and_ties_go_to_the_earlier():
    rng = np.random.default_rng(0)
    features = rng.integers(-1, 2, (60, 3)).astype(float)  # many equal directions, and zeros
    found = neighbours(features, 5)
    unit = features / np.where((norm := np.linalg.norm(features, axis=1, keepdims=True)) > 0, norm, 1)
    sim = (unit.astype(np.float32) @ unit.astype(np.float32).T).astype(np.float32)
    for i in range(60):
        others = sorted((j for j in range(60) if j != i), key=lambda j: (-sim[i, j], j))[:5]
        assert found.index[i].tolist() == others
        np.testing.assert_allclose(found.cosine[i], sim[i, others], atol=1e-6)


def test_hubness_is_the_skewness_of_the_k_occurrence():
    index = neighbours(np.random.default_rng(1).normal(size=(300, 20)), 10).index
    assert k_occurrence(index).sum() == 3000
    assert hubness(index) == pytest.approx(skew(k_occurrence(index)))
    assert np.isnan(hubness(np.array([[1], [0]])))


def test_shared_neighbours_whatever_their_order():
    one, other = np.array([[1, 2], [0, 2], [0, 1]]), np.array([[2, 1], [2, 3], [3, 4]])
    assert shared(one, other).tolist() == [1, 0.5, 0]
    with pytest.raises(ValueError, match="same images"):
        shared(one, other[:2])


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [([], 1, "non-empty"), ([[np.nan], [1]], 1, "NaN"), ([[1.0], [2.0]], 2, "k must"), ([[1.0], [2.0]], 0, "k must")],
)
def test_wrong_input_is_named(features, k, message):
    with pytest.raises(ValueError, match=message):
        neighbours(features, k)
