"""Geometry of embeddings against loops and known shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amcl_serve.metrics import geometry
from amcl_serve.metrics.geometry import alignment, alpha_req, effective_rank, feature_spread, uniformity


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(40, 6))


def unit(x):
    return x / np.linalg.norm(x)


def test_alignment_equals_loops(features):
    other = features + 0.1 * np.random.default_rng(1).normal(size=features.shape)
    for alpha in (1.0, 2.0):
        expected = sum(math.dist(unit(a), unit(b)) ** alpha for a, b in zip(features, other, strict=True)) / len(
            features
        )
        assert alignment(features, other, alpha=alpha) == pytest.approx(expected)
    assert alignment(features, 3 * features) == pytest.approx(0, abs=1e-12)
    assert alignment(features, -features) == pytest.approx(4)


def test_uniformity_equals_loops(features, monkeypatch):
    terms = [math.exp(-2 * math.dist(unit(features[i]), unit(features[j])) ** 2) for i in range(40) for j in range(i)]
    expected = math.log(sum(terms) / len(terms))
    assert uniformity(features) == pytest.approx(expected)
    monkeypatch.setattr(geometry, "_CHUNK_ROWS", 7)
    assert uniformity(features) == pytest.approx(expected)
    assert uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-9)


def test_effective_rank_of_known_spectra(features):
    assert effective_rank(np.eye(7)) == pytest.approx(7)
    assert effective_rank(np.ones((5, 3))) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.zeros((5, 3))) == 0
    shares = np.array([0.5, 0.25, 0.25])
    assert effective_rank(np.diag(shares)) == pytest.approx(2**1.5)  # entropy of 1.5 bits
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))
    assert effective_rank(5 * features @ rotation) == pytest.approx(effective_rank(features))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_is_the_exponent_of_a_power_law(alpha):
    rng = np.random.default_rng(4)
    rows, _ = np.linalg.qr(np.concatenate([np.ones((200, 1)), rng.normal(size=(200, 80))], axis=1))
    columns, _ = np.linalg.qr(rng.normal(size=(80, 80)))
    power = np.arange(1, 81.0) ** -alpha  # variances along the 80 directions
    features = rows[:, 1:] * np.sqrt(power) @ columns  # with a mean of 0
    assert alpha_req(features) == pytest.approx(alpha)
    assert alpha_req(3 * features + 5) == pytest.approx(alpha)
    bent = features + rows[:, 1:3] @ columns[:2]  # the first ranks are not looked at
    assert alpha_req(bent) == pytest.approx(alpha)


def test_alpha_req_weighs_ranks_by_their_inverse(features):
    x = features - features.mean(0)
    values = np.linalg.eigvalsh(x.T @ x)[::-1][1:]
    rank = np.arange(2, 7)
    design, weight = np.stack([-np.log(rank), np.ones(5)], 1), np.diag(1 / rank)
    expected = np.linalg.solve(design.T @ weight @ design, design.T @ weight @ np.log(values))[0]
    assert alpha_req(features, first=2) == pytest.approx(expected)


def test_alpha_req_of_too_few_dims_is_not_defined(features):
    assert math.isnan(alpha_req(features[:, :5]))
    assert math.isnan(alpha_req(np.ones((20, 10))))
    assert math.isnan(alpha_req(np.tile(features[:, :3], 4)))


def test_feature_spread_is_zero_at_collapse_and_one_over_root_d_on_the_sphere():
    collapsed = np.outer(np.arange(1, 50), np.ones(8))
    assert feature_spread(collapsed) == pytest.approx(0, abs=1e-12)
    sphere = np.random.default_rng(3).normal(size=(20_000, 16))
    assert feature_spread(sphere) == pytest.approx(16**-0.5, rel=0.01)


@pytest.mark.parametrize("function", [uniformity, alpha_req, effective_rank, feature_spread, lambda x: alignment(x, x)])
def test_bad_input_is_named(function):
    with pytest.raises(ValueError, match="non-empty"):
        function(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="NaN"):
        function(np.full((3, 3), np.inf))


def test_sizes_must_fit():
    with pytest.raises(ValueError, match="one shape"):
        alignment(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="at least two"):
        uniformity(np.ones((1, 3)))
