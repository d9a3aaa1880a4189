"""Figures without labels against their formulas, on features and scores that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amcl_serve.metrics.label_free import LEAST_IMAGES, PRESETS, ViewScores, label_free


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(60, 6))


def views_of(features, noise, seed=1):
    """Cosines of two noisy views of each row, and of a row's first with the next one's second."""
    rng = np.random.default_rng(seed)
    first, second = (unit(features + noise * rng.normal(size=features.shape)) for _ in range(2))
    return ViewScores((first * second).sum(1), (first * np.roll(second, -1, 0)).sum(1))


def presets(**noise):
    def make(features):
        return {preset: views_of(features, noise.get(preset, 0.3)) for preset in PRESETS}

    return make


def test_each_figure_is_its_formula(features):
    views = presets(a=0.1)(features)
    found = label_free(features, views)
    singular = np.linalg.svd(features, compute_uv=False)
    share = singular / singular.sum()
    assert found.rankme == pytest.approx(math.exp(-sum(p * math.log(p) for p in share)))
    pairs = [(i, j) for i in range(60) for j in range(i)]
    x = unit(features)
    spread = [math.exp(-2 * math.dist(x[i], x[j]) ** 2) for i, j in pairs]
    assert found.uniformity == pytest.approx(math.log(sum(spread) / len(spread)))
    every = views["abcde"]
    assert found.alignment == pytest.approx(np.mean([2 - 2 * s for s in every.positive_features]))
    wins = [(p > n) + 0.5 * (p == n) for p in every.positive_features for n in every.negative_features]
    assert found.pair_auroc["abcde"] == pytest.approx(np.mean(wins))
    assert found.pair_auroc["a"] > found.pair_auroc["abcde"]
    assert (found.images, found.pairs) == (60, 60)


def test_pair_scores_come_before_cosines_where_a_model_has_heads(features):
    views = presets()(features)
    count = len(features)
    heads = {
        p: ViewScores(v.positive_features, v.negative_features, np.arange(count) * 1.0, np.arange(count) - 0.5)
        for p, v in views.items()
    }
    plain, found = label_free(features, views), label_free(features, heads)
    assert plain.pair_auroc == plain.pair_auroc_features == found.pair_auroc_features
    assert found.pair_auroc["abcde"] == pytest.approx(0.5, abs=0.02)
    assert found.brier == pytest.approx(0.25, abs=0.05)
    assert found.alignment == plain.alignment


def test_the_probability_is_judged_on_pairs_that_did_not_fit_it():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(4000, 8))
    positive, negative = rng.normal(1, 1, 4000), rng.normal(0, 1, 4000)
    views = dict.fromkeys(PRESETS, ViewScores(positive, negative, positive, negative))
    found = label_free(features, views)
    assert found.calibration_error < 0.02  # two normals of one variance: the logistic form is true
    # Half of the images say the contrary: what one half fits is wrong of the other.
    other = np.where(np.arange(4000) < 2000, positive, negative), np.where(np.arange(4000) < 2000, negative, positive)
    turned = label_free(features, dict.fromkeys(PRESETS, ViewScores(*other, *other)))
    assert turned.calibration_error > 0.2
    assert turned.brier > 0.25 > found.brier


def test_collapse_has_no_calibration_and_the_lowest_rank():
    same = np.ones((20, 4))
    found = label_free(same, dict.fromkeys(PRESETS, ViewScores(np.ones(20), np.ones(20))))
    assert found.rankme == pytest.approx(1)
    assert found.pair_auroc["abcde"] == 0.5
    assert found.uniformity == pytest.approx(0, abs=1e-9)
    assert math.isnan(found.alpha_req)
    assert math.isnan(found.brier)
    assert not {"alpha_req", "brier", "calibration_error"} & set(found.numbers())
    assert {"pair_auroc_a", "pair_auroc_features_abcde", "rankme", "alignment"} <= set(found.numbers())


def test_wrong_input_is_named(features):
    views = presets()(features)
    with pytest.raises(ValueError, match=f"{LEAST_IMAGES} images or more; there are 7 images"):
        label_free(features[:7], views)
    with pytest.raises(ValueError, match="there are 5 pairs"):
        label_free(features, presets()(features[:5]))
    with pytest.raises(ValueError, match="views under c, abcde are missing"):
        label_free(features, {p: v for p, v in views.items() if p not in ("c", "abcde")})
    with pytest.raises(ValueError, match="NaN"):
        label_free(features * np.nan, views)
    with pytest.raises(ValueError, match="NaN"):
        label_free(features, views | {"b": ViewScores(np.full(60, np.nan), np.ones(60))})
