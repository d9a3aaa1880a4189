"""Calibration against scikit-learn, loops, and data drawn from a known curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from amcl_serve.metrics.calibration import fit_calibration, probability, reliability, score_of


def drawn(count, slope, intercept, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 1, count)
    return scores, rng.random(count) < probability(scores, slope=slope, intercept=intercept)


def test_equals_scikit_learn_on_platts_targets():
    scores, labels = drawn(400, 6.0, -1.5)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A soft target is the same pair seen as both kinds, weighted.
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(scores, 2)[:, None], [1] * 400 + [0] * 400, sample_weight=np.concatenate([target, 1 - target])
    )
    slope, intercept = fit_calibration(scores, labels)
    assert slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert intercept == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_finds_the_curve_that_the_labels_were_drawn_from():
    slope, intercept = fit_calibration(*drawn(50_000, 8.0, -2.0))
    assert slope == pytest.approx(8.0, rel=0.05)
    assert intercept == pytest.approx(-2.0, rel=0.1)


@given(st.floats(0.001, 0.999), st.floats(0.1, 50), st.floats(-20, 20))
def test_the_score_of_a_probability_is_that_which_has_it(p, slope, intercept):
    score = score_of(p, slope=slope, intercept=intercept)
    assert probability(score, slope=slope, intercept=intercept) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize(("p", "slope"), [(0, 1), (1, 1), (0.5, 0), (0.5, -1)])
def test_no_score_has_this_probability(p, slope):
    with pytest.raises(ValueError, match="no score"):
        score_of(p, slope=slope, intercept=0)


def test_perfectly_separated_scores_have_a_finite_slope():
    scores = np.concatenate([np.linspace(0.6, 0.9, 100), np.linspace(0.0, 0.4, 100)])
    labels = np.arange(200) < 100
    slope, intercept = fit_calibration(scores, labels)
    assert np.isfinite([slope, intercept]).all()
    assert slope > 0
    assert reliability(probability(scores, slope=slope, intercept=intercept), labels).accuracy == 1.0


@given(st.floats(0.01, 100), st.floats(-10, 10))
def test_probabilities_do_not_depend_on_the_scale_of_the_score(scale, shift):
    scores, labels = drawn(200, 5.0, 0.0, seed=3)
    slope, intercept = fit_calibration(scores, labels)
    moved_slope, moved_intercept = fit_calibration(scale * scores + shift, labels)
    np.testing.assert_allclose(
        probability(scale * scores + shift, slope=moved_slope, intercept=moved_intercept),
        probability(scores, slope=slope, intercept=intercept),
        atol=1e-6,
    )


def test_probability_has_no_overflow():
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(probability([-1e4, 0, 1e4], slope=1, intercept=0), [0, 0.5, 1])


def test_reliability_equals_scikit_learn_and_loops():
    rng = np.random.default_rng(1)
    p = rng.random(500)
    labels = rng.random(500) < p**2
    result = reliability(p, labels, bins=10)
    assert result.brier == pytest.approx(brier_score_loss(labels, p))
    error = 0.0
    for index in range(10):
        inside = (p >= index / 10) & (p < (index + 1) / 10)
        error += inside.sum() / 500 * abs(p[inside].mean() - labels[inside].mean())
    assert result.expected_calibration_error == pytest.approx(error)
    assert result.accuracy == pytest.approx(np.mean((p >= 0.5) == labels))
    assert result.bin_count.sum() == 500


def test_certain_and_right_is_perfect_and_empty_bins_do_no_harm():
    result = reliability([0.0, 1.0, 1.0], [False, True, True])
    assert (result.brier, result.expected_calibration_error, result.accuracy) == (0, 0, 1)
    assert np.isnan(result.bin_confidence[5])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "non-empty"),
        ([0.1, 0.2], [True], "as many labels"),
        ([0.1, np.nan], [True, False], "NaN"),
        ([0.1, 0.2], [True, True], "one kind only"),
        ([0.1, 0.1], [True, False], "differ"),
        ([0.1, 0.2], [1, 2], "true or false"),
    ],
)
def test_bad_input_is_named(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_calibration(scores, labels)


def test_reliability_wants_probabilities_and_bins():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        reliability([1.2], [True])
    with pytest.raises(ValueError, match="bins"):
        reliability([0.2], [True], bins=0)
