"""Curves and thresholds against scikit-learn and loops."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from amcl_serve.metrics.operating import (
    Scores,
    errors_at,
    supported,
    threshold_by_cost,
    threshold_by_rate,
    wilson,
)

pairs = st.lists(st.tuples(st.integers(-3, 3).map(lambda n: n / 4), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({same for _, same in rows}) == 2
)


@given(pairs)
def test_the_curve_is_scikit_learns_with_ties(rows):
    scores, same = (np.array(column) for column in zip(*rows, strict=True))
    curve = Scores(scores, same).curve()
    rejects, accepts, thresholds = roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_accepts, rejects)
    np.testing.assert_allclose(curve.true_accepts, accepts)
    np.testing.assert_allclose(curve.thresholds[1:], thresholds[1:])
    assert curve.area == pytest.approx(roc_auc_score(same, scores))


@given(pairs, st.integers(0, 1000))
def test_weights_are_pairs_that_come_as_often(rows, seed):
    scores, same = (np.array(column) for column in zip(*rows, strict=True))
    often = np.random.default_rng(seed).integers(1, 4, len(rows))
    weighted, repeated = Scores(scores, same).curve(often), Scores(scores.repeat(often), same.repeat(often)).curve()
    np.testing.assert_allclose(weighted.false_accepts, repeated.false_accepts)
    assert weighted.area == pytest.approx(repeated.area)
    assert weighted.equal_error_rate == pytest.approx(repeated.equal_error_rate)


def test_equal_error_rate_of_two_normals_is_the_closed_form():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(2, 1, 200_000), rng.normal(0, 1, 200_000)])
    found = Scores(scores, np.arange(400_000) < 200_000).curve()
    assert found.equal_error_rate == pytest.approx(NormalDist().cdf(-1), abs=2e-3)
    assert found.true_accepts_at(0.01) == pytest.approx(1 - NormalDist(2).cdf(NormalDist().inv_cdf(0.99)), abs=5e-3)


def test_equal_error_rate_at_the_ends():
    same = [1, 1, 0, 0]
    assert Scores([4, 3, 2, 1], same).curve().equal_error_rate == 0
    assert Scores([1, 2, 3, 4], same).curve().equal_error_rate == 1
    assert Scores([1, 1, 1, 1], same).curve().equal_error_rate == 0.5


@given(pairs, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_the_threshold_of_a_rate_equals_trying_them_all(rows, rate):
    scores, same = (np.array(column) for column in zip(*rows, strict=True))
    threshold = threshold_by_rate(scores, same, rate)
    negatives = scores[~same]
    assert np.mean(negatives >= threshold) <= rate
    lower = scores[scores < threshold]
    if len(lower):  # the next lower threshold accepts too many
        assert np.mean(negatives >= lower.max()) > rate


@given(pairs, st.sampled_from([(1, 1), (10, 1), (1, 10)]))
def test_the_threshold_of_a_cost_equals_trying_them_all(rows, costs):
    scores, same = (np.array(column) for column in zip(*rows, strict=True))
    accept, reject = costs

    def cost(threshold):
        return accept * np.mean(scores[~same] >= threshold) + reject * np.mean(scores[same] < threshold)

    found = cost(threshold_by_cost(scores, same, false_accept=accept, false_reject=reject))
    assert found == pytest.approx(min(cost(each) for each in [*scores, np.inf]))


def test_a_rare_positive_asks_for_a_higher_threshold():
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(1, 1, 500), rng.normal(0, 1, 500)])
    same = np.arange(1000) < 500
    common, rare = (threshold_by_cost(scores, same, false_accept=1, false_reject=1, prior=p) for p in (0.5, 0.05))
    assert rare > common


def test_errors_are_counted_at_and_above_the_threshold():
    found = errors_at(0.5, [0.5, 0.4, 0.5, 0.1], [True, True, False, False])
    assert (found.false_accepts, found.negatives, found.false_rejects, found.positives) == (1, 2, 1, 2)


def test_thresholds_keep_their_promise_on_the_other_half():
    """95 of 100 chosen on one half have the promised rate in the interval of the other, give or take."""
    kept = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([rng.normal(2, 1, 2000), rng.normal(0, 1, 2000)])
        same = np.arange(4000) < 2000
        half = rng.permutation(4000) < 2000
        threshold = threshold_by_rate(scores[half], same[half], 0.05)
        errors = errors_at(threshold, scores[~half], same[~half])
        # The choice has as much noise as the report: both intervals meet.
        low, high = wilson(errors.false_accepts, errors.negatives)
        least, most = wilson(round(0.05 * errors.negatives), errors.negatives)
        kept += low <= most and least <= high
    assert kept >= 95


def test_wilson_is_scipys():
    from scipy.stats import binomtest

    for count, total in ((0, 10), (3, 10), (10, 10), (500, 1000)):
        theirs = binomtest(count, total).proportion_ci(method="wilson")
        assert wilson(count, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert wilson(0, 0) == (0, 1)


def test_rates_that_so_few_negatives_cannot_show():
    assert supported(0.01, 1000)
    assert not supported(0.001, 1000)


@pytest.mark.parametrize(
    ("scores", "same", "message"),
    [
        ([], [], "as many"),
        ([0.1], [True], "one kind"),
        ([0.1, float("nan")], [True, False], "NaN"),
        ([0.1, 0.2], [2, 0], "true or false"),
        ([0.1, 0.2], [True], "as many"),
    ],
)
def test_wrong_input_is_named(scores, same, message):
    with pytest.raises(ValueError, match=message):
        Scores(scores, same)


def test_wrong_rates_and_costs_are_named():
    with pytest.raises(ValueError, match="rate"):
        threshold_by_rate([0.1, 0.2], [True, False], 0)
    with pytest.raises(ValueError, match="costs"):
        threshold_by_cost([0.1, 0.2], [True, False], false_accept=0, false_reject=1)
