"""The score of a pair from its heads: the server's, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve import pairs
from amcl_serve.evaluation.head_score import head_score


def test_is_the_server_s_score():
    rng = np.random.default_rng(0)
    similarity, temperature = rng.uniform(-1, 1, (50, 3)), rng.uniform(0.03, 0.5, (50, 3))
    np.testing.assert_allclose(
        head_score(similarity, temperature), pairs._combine(similarity, 1 / temperature), atol=1e-6
    )


def test_a_constant_temperature_is_the_mean_and_one_head_is_the_cosine():
    similarity = np.random.default_rng(1).uniform(-1, 1, (20, 4))
    np.testing.assert_allclose(head_score(similarity, np.full((20, 4), 0.1)), similarity.mean(axis=1))
    np.testing.assert_allclose(head_score(similarity[:, :1], np.full((20, 1), 0.5)), similarity[:, 0])


@pytest.mark.parametrize("temperature", [[[0.1]], [[0.1, 0.0]], [[0.1, np.nan]]])
def test_wrong_input_is_refused(temperature):
    with pytest.raises(ValueError, match="temperatures"):
        head_score([[0.5, 0.5]], temperature)
