"""The score of a pair from its heads, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.metrics.head_score import head_correlation, head_score, log_density, mean_correlation


def test_heads_weigh_by_the_inverse_of_their_variance():
    rng = np.random.default_rng(0)
    similarity, temperature = rng.uniform(-1, 1, (50, 3)), rng.uniform(0.03, 0.5, (50, 3))
    expected = [np.average(s, weights=1 / t) for s, t in zip(similarity, temperature, strict=True)]
    np.testing.assert_allclose(head_score(similarity, temperature), expected, atol=1e-12)


def test_a_constant_temperature_is_the_mean_and_one_head_is_the_cosine():
    similarity = np.random.default_rng(1).uniform(-1, 1, (20, 4))
    np.testing.assert_allclose(head_score(similarity, np.full((20, 4), 0.1)), similarity.mean(axis=1))
    np.testing.assert_allclose(head_score(similarity[:, :1], np.full((20, 1), 0.5)), similarity[:, 0])


@pytest.mark.parametrize("temperature", [[[0.1]], [[0.1, 0.0]], [[0.1, np.nan]]])
def test_wrong_input_is_refused(temperature):
    with pytest.raises(ValueError, match="temperatures"):
        head_score([[0.5, 0.5]], temperature)


def test_heads_may_weigh_equally_or_as_told():
    rng = np.random.default_rng(2)
    similarity, temperature = rng.uniform(-1, 1, (20, 3)), rng.uniform(0.03, 0.5, (20, 3))
    np.testing.assert_allclose(head_score(similarity, temperature, "mean"), similarity.mean(axis=1))
    told = [np.average(row, weights=[1, 0, 3]) for row in similarity]
    np.testing.assert_allclose(head_score(similarity, temperature, "weights", [1, 0, 3]), told)


@pytest.mark.parametrize("weights", [None, [1.0], [0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="2 numbers of 0 or more"):
        head_score([[0.5, 0.5]], [[0.1, 0.1]], "weights", weights)


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match="none of mean, inverse_variance, weights"):
        head_score([[0.5, 0.5]], [[0.1, 0.1]], "median")


def test_the_density_is_a_sum_over_heads():
    s, t, beta, eta = [0.9, 0.2], [0.1, 0.4], 0.5, 3.0
    expected = sum(x / y - beta * (eta * np.log(y) + 1 / y) for x, y in zip(s, t, strict=True))
    assert log_density([s], [t], beta=beta, eta=eta)[0] == pytest.approx(expected)
    # At beta = 1 it differs by a constant from the log-density of a normal of variance t around the anchor.
    gauss = [sum(-(1 - x) / y - eta * np.log(y) for x, y in zip(row, t, strict=True)) for row in (s, [0.1, 0.5])]
    found = log_density([s, [0.1, 0.5]], [t, t], beta=1.0, eta=eta)
    assert found[0] - found[1] == pytest.approx(gauss[0] - gauss[1])


def test_heads_that_say_the_same_agree() -> None:
    one = np.random.default_rng(0).normal(size=50)
    same = np.stack([one, 2 * one + 1, -one], axis=1)
    np.testing.assert_allclose(head_correlation(same), [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-12)
    assert mean_correlation(same) == pytest.approx(-1 / 3)
    assert np.isnan(head_correlation(np.stack([one, np.zeros(50)], axis=1))[0, 1])
