"""Clusters against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from amcl_serve.metrics.clustering import (
    adjusted_rand_index,
    k_means,
    normalised_mutual_information,
    purity,
)

groupings = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=40)


@given(groupings)
def test_indices_are_scikit_learns(rows):
    labels, clusters = (np.array(column) for column in zip(*rows, strict=True))
    mutual = normalized_mutual_info_score(labels, clusters)
    assert normalised_mutual_information(labels, clusters) == pytest.approx(mutual, abs=1e-9)
    assert adjusted_rand_index(labels, clusters) == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-9)


def test_purity_is_the_share_of_the_commonest():
    assert purity(["a", "a", "b", "b"], [0, 0, 0, 1]) == 0.75
    assert purity(["a"], [3]) == 1.0


def test_k_means_finds_what_lies_apart_and_the_same_again():
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 4
    features = np.eye(8)[labels] * rng.uniform(0.5, 9, (600, 1)) + 0.02 * rng.normal(size=(600, 8))
    found = k_means(features, 4, seed=1)
    assert normalised_mutual_information(labels, found) == pytest.approx(1)
    np.testing.assert_array_equal(found, k_means(features, 4, seed=1))
    assert len(set(k_means(features[:3], 3).tolist())) == 3


@pytest.mark.parametrize(
    ("features", "clusters", "message"),
    [([], 1, "non-empty"), ([[np.nan]], 1, "NaN"), ([[1.0]], 2, "clusters must"), ([[1.0]], 0, "clusters must")],
)
def test_wrong_input_is_named(features, clusters, message):
    with pytest.raises(ValueError, match=message):
        k_means(features, clusters)


def test_wrong_groups_are_named():
    with pytest.raises(ValueError, match="as many"):
        purity([], [])
    with pytest.raises(ValueError, match="as many"):
        normalised_mutual_information(["a"], [1, 2])
