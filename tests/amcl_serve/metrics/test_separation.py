"""Separation of scores against scikit-learn, loops and known cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from amcl_serve.metrics.separation import auroc, separation

scores = st.lists(st.integers(-3, 3).map(lambda n: n / 4), min_size=1, max_size=30)  # few values: many ties


@given(scores, scores)
def test_auroc_equals_scikit_learn_with_ties(positive, negative):
    expected = roc_auc_score([1] * len(positive) + [0] * len(negative), positive + negative)
    assert auroc(positive, negative) == pytest.approx(expected)


@given(scores, scores)
def test_swapping_sides_mirrors_the_auroc_and_keeps_the_overlap(positive, negative):
    one, other = separation(positive, negative), separation(negative, positive)
    assert one.auroc + other.auroc == pytest.approx(1)
    assert one.overlap == pytest.approx(other.overlap)
    assert 0 <= one.overlap <= 1 + 1e-12
    assert one.positive_counts.sum() == len(positive)
    assert one.negative_counts.sum() == len(negative)


def test_known_cases():
    apart = separation([0.8, 0.9, 0.4], [-0.5, 0.0, 0.1], bins=10)
    assert apart.auroc == 1.0
    assert apart.overlap == 0.0
    assert apart.positives_below_half == pytest.approx(1 / 3)
    assert apart.edges[0] == -0.5
    assert apart.edges[-1] == pytest.approx(0.9)
    same = separation([0.1, 0.2], [0.1, 0.2])
    assert (same.auroc, same.overlap) == (0.5, pytest.approx(1.0))


def test_overlap_equals_loops():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 1, 300), rng.normal(0, 1, 200)
    result = separation(positive, negative, bins=20)
    shared = 0.0
    for low, high in zip(result.edges[:-1], result.edges[1:], strict=True):
        last = high == result.edges[-1]
        shares = [np.mean((x >= low) & ((x <= high) if last else (x < high))) for x in (positive, negative)]
        shared += min(shares)
    assert result.overlap == pytest.approx(shared)


@pytest.mark.parametrize("bad", [[], [[0.1]], [float("nan")]])
def test_bad_input_is_named(bad):
    with pytest.raises(ValueError, match="positive scores"):
        separation(bad, [0.0])
    with pytest.raises(ValueError, match="negative scores"):
        auroc([0.0], bad)


def test_bins_must_be_positive():
    with pytest.raises(ValueError, match="bins"):
        separation([0.0], [1.0], bins=0)
