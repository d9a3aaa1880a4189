"""Risk and coverage: against a loop, with ties averaged over their orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from amcl_serve.metrics.risk_coverage import area_under_risk_coverage, risk_at_coverage


def loop(confidence, correct):
    order = sorted(range(len(confidence)), key=lambda i: -confidence[i])
    return [sum(not correct[i] for i in order[:k]) / k for k in range(1, len(order) + 1)]


def test_it_equals_a_loop():
    rng = np.random.default_rng(0)
    confidence, correct = rng.normal(size=60), rng.random(60) < 0.7
    np.testing.assert_allclose(risk_at_coverage(confidence, correct), loop(confidence, correct))
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(np.mean(loop(confidence, correct)))


def test_ties_count_as_the_mean_over_their_orders():
    correct = np.array([True, False, False, True, True, False])
    tied = np.array([3, 2, 2, 2, 1, 1])
    curves = []
    for order in permutations(range(6)):
        jitter = np.empty(6)
        jitter[list(order)] = np.arange(6) * 1e-3
        curves.append(loop(tied + jitter, correct))
    np.testing.assert_allclose(risk_at_coverage(tied, correct), np.mean(curves, axis=0))


def test_only_the_order_of_confidences_matters():
    rng = np.random.default_rng(1)
    confidence, correct = rng.normal(size=40), rng.random(40) < 0.5
    same = area_under_risk_coverage(np.exp(3 * confidence) + 5, correct)
    assert same == pytest.approx(area_under_risk_coverage(confidence, correct))


def test_the_limits():
    correct = np.array([True] * 6 + [False] * 4)
    assert area_under_risk_coverage(np.zeros(10), correct) == pytest.approx(0.4)  # says nothing: the error itself
    best, worst = (area_under_risk_coverage(sign * np.arange(10, 0, -1), correct) for sign in (1, -1))
    assert best < 0.4 < worst
    assert area_under_risk_coverage([0.1, 0.7], [True, True]) == 0
    assert risk_at_coverage([0.5], [False]).tolist() == [1]


@pytest.mark.parametrize(
    ("confidence", "correct", "says"),
    [
        ([], [], "non-empty"),
        ([0.1, 0.2], [True], "as many answers"),
        ([[0.1]], [[True]], "one-dimensional"),
        ([0.1, np.nan], [True, True], "NaN"),
        ([0.1, 0.2], [2, 0], "true or false"),
    ],
)
def test_wrong_input_is_refused(confidence, correct, says):
    with pytest.raises(ValueError, match=says):
        risk_at_coverage(confidence, correct)
