"""The score of a pair from its heads, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.evaluation.head_score import head_score


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
