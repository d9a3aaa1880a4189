from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.errors import BundleError
from amcl_serve.metrics.head_score import Weighting
from amcl_serve.model import pair_scorer as pairs
from amcl_serve.model.bundle import Bundle, PairScore
from amcl_serve.model.encoder import Embeddings
from amcl_serve.model.pair_scorer import PairScorer
from tests.fakes import CALIBRATION, CONSTANT, HEAD_DIM, HIGH, LOW, C, D, make_bundle


@pytest.fixture(scope="module")
def adaptive(tiny_bundle: Path) -> PairScorer:
    return PairScorer.load(Bundle.open(tiny_bundle))


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> PairScorer:
    folder = make_bundle(tmp_path_factory.mktemp("b"), adaptive=False, calibrated=False)
    return PairScorer.load(Bundle.open(folder))


def some(count: int, seed: int = 0) -> Embeddings:
    rng = np.random.default_rng(seed)
    heads = rng.normal(size=(count, C, HEAD_DIM))
    heads /= np.linalg.norm(heads, axis=-1, keepdims=True)
    return Embeddings(rng.normal(size=(count, D)).astype(np.float32), heads.astype(np.float32))


def test_every_number_against_its_formula(adaptive: PairScorer) -> None:
    a, b = some(7, 1), some(7, 2)
    found = adaptive.score(a, b)
    for n in range(7):
        x, y = a.features[n].tolist(), b.features[n].tolist()
        cosine = sum(p * q for p, q in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
        assert found.feature_similarity[n] == pytest.approx(cosine, abs=1e-6)
        weighted = weights = 0.0
        for c in range(C):
            s = sum(p * q for p, q in zip(a.heads[n, c].tolist(), b.heads[n, c].tolist(), strict=True))
            tau = LOW + (HIGH - LOW) / (1 + math.exp(4 * s))
            assert found.head_similarity[n, c] == pytest.approx(s, abs=1e-6)
            assert found.temperature[n, c] == pytest.approx(tau, rel=1e-5)
            weighted += s / tau
            weights += 1 / tau
        assert found.score[n] == pytest.approx(weighted / weights, abs=1e-5)
        assert found.uncertainty is not None
        assert found.uncertainty[n] == pytest.approx(C / weights, rel=1e-5)
        p = 1 / (1 + math.exp(-(CALIBRATION.slope * weighted / weights + CALIBRATION.intercept)))
        assert found.probability is not None
        assert found.probability[n] == pytest.approx(p, abs=1e-5)
        assert found.same is not None
        assert found.same[n] == (p >= CALIBRATION.threshold)
    assert found.same.dtype == np.bool_
    assert found.same.any()
    assert not found.same.all()


def test_constant_temperature_is_the_plain_mean_and_has_no_uncertainty(constant: PairScorer) -> None:
    found = constant.score(some(5, 1), some(5, 2))
    np.testing.assert_allclose(found.temperature, CONSTANT, rtol=1e-6)
    np.testing.assert_allclose(found.score, found.head_similarity.mean(axis=1), atol=1e-6)
    assert found.uncertainty is None


@pytest.mark.parametrize(("weighting", "weights"), [("mean", None), ("weights", [0.5, 0.2, 0.3])])
def test_the_card_says_how_heads_combine(
    tiny_bundle: Path, adaptive: PairScorer, weighting: Weighting, weights: list[float] | None
) -> None:
    bundle = Bundle.open(tiny_bundle)
    rule = PairScore(weighting=weighting, weights=weights)
    bundle.card = bundle.card.model_copy(update={"pair_score": rule})
    scorer = PairScorer.load(bundle)
    a, b = some(5, 1), some(5, 2)
    found = scorer.score(a, b)
    expected = np.average(found.head_similarity, axis=1, weights=weights)
    np.testing.assert_allclose(found.score, expected, atol=1e-6)
    np.testing.assert_allclose(scorer.cross(a, b).score.diagonal(), expected, atol=1e-6)
    assert not np.allclose(found.score, adaptive.score(a, b).score, atol=1e-3)


def test_without_calibration_there_is_no_verdict(constant: PairScorer) -> None:
    found = constant.score(some(2), some(2))
    assert found.probability is None
    assert found.same is None
    assert constant.cross(some(2), some(2)).probability is None


@pytest.mark.parametrize("calibrated", [True, False])
def test_without_heads_the_score_is_the_cosine_of_the_features(tmp_path: Path, calibrated: bool) -> None:
    scorer = PairScorer.load(Bundle.open(make_bundle(tmp_path / "b", heads=False, calibrated=calibrated)))
    a, b = (Embeddings(some(7, seed).features, np.empty((7, 0, 0), np.float32)) for seed in (1, 2))
    found = scorer.score(a, b)
    for n in range(7):
        x, y = a.features[n].tolist(), b.features[n].tolist()
        cosine = sum(p * q for p, q in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
        assert found.score[n] == found.feature_similarity[n] == pytest.approx(cosine, abs=1e-6)
    assert (found.head_similarity, found.temperature, found.uncertainty) == (None, None, None)
    matrix = scorer.cross(a, b)
    np.testing.assert_allclose(matrix.score.diagonal(), found.score, atol=1e-6)
    np.testing.assert_array_equal(matrix.score, matrix.feature_similarity)
    if not calibrated:
        assert (found.probability, found.same, matrix.probability) == (None, None, None)
        return
    expected = 1 / (1 + np.exp(-(CALIBRATION.slope * found.score + CALIBRATION.intercept)))
    assert found.probability is not None
    np.testing.assert_allclose(found.probability, expected, atol=1e-5)
    assert found.same is not None
    np.testing.assert_array_equal(found.same, expected >= CALIBRATION.threshold)
    assert matrix.probability is not None
    np.testing.assert_allclose(matrix.probability.diagonal(), expected, atol=1e-5)


def test_an_image_and_itself(adaptive: PairScorer) -> None:
    found = adaptive.score(some(4), some(4))
    np.testing.assert_allclose(found.score, 1, atol=1e-6)
    assert found.score.max() <= 1
    assert found.same is not None
    assert found.same.all()


def test_sides_may_be_swapped(adaptive: PairScorer) -> None:
    one, other = adaptive.score(some(6, 1), some(6, 2)), adaptive.score(some(6, 2), some(6, 1))
    np.testing.assert_allclose(one.score, other.score, atol=1e-6)


def test_zero_vectors_are_unlike_everything(adaptive: PairScorer) -> None:
    nothing = Embeddings(np.zeros((2, D), np.float32), np.zeros((2, C, HEAD_DIM), np.float32))
    found = adaptive.score(nothing, some(2))
    assert (found.feature_similarity == 0).all()
    assert (found.score == 0).all()
    assert np.isfinite(adaptive.cross(nothing, nothing).feature_similarity).all()


@pytest.mark.parametrize("scale", [1e-30, 1e18])
def test_the_length_of_features_does_not_matter(adaptive: PairScorer, scale: float) -> None:
    a, b = some(3, 1), some(3, 2)
    scaled = Embeddings(a.features * np.float32(scale), a.heads)
    np.testing.assert_allclose(
        adaptive.score(scaled, b).feature_similarity, adaptive.score(a, b).feature_similarity, atol=1e-6
    )


def test_no_pairs(adaptive: PairScorer) -> None:
    found = adaptive.score(some(0), some(0))
    assert found.score.shape == (0,)
    assert found.head_similarity.shape == (0, C)
    assert adaptive.cross(some(0), some(3)).score.shape == (0, 3)


def test_sides_of_different_length(adaptive: PairScorer) -> None:
    with pytest.raises(ValueError, match="2 and 3"):
        adaptive.score(some(2), some(3))


@pytest.mark.parametrize("chunk", [1, 5, 7, 4096])
def test_cross_is_every_pair(adaptive: PairScorer, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_CHUNK", chunk)
    a, b = some(5, 1), some(7, 2)
    found = adaptive.cross(a, b)
    assert found.score.shape == (5, 7)
    assert found.probability is not None
    for i in range(5):
        row = Embeddings(np.repeat(a.features[i : i + 1], 7, 0), np.repeat(a.heads[i : i + 1], 7, 0))
        expected = adaptive.score(row, b)
        assert expected.probability is not None
        np.testing.assert_allclose(found.score[i], expected.score, atol=1e-6)
        np.testing.assert_allclose(found.probability[i], expected.probability, atol=1e-6)
        np.testing.assert_allclose(found.feature_similarity[i], expected.feature_similarity, atol=1e-6)


def test_everything_is_float32(adaptive: PairScorer) -> None:
    found = adaptive.score(some(2, 1), some(2, 2))
    for name in ("feature_similarity", "head_similarity", "temperature", "score", "uncertainty", "probability"):
        assert getattr(found, name).dtype == np.float32, name
    crossed = adaptive.cross(some(2, 1), some(2, 2))
    for name in ("feature_similarity", "score", "probability"):
        assert getattr(crossed, name).dtype == np.float32, name


def test_a_graph_that_does_not_fit_its_card(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    other = Bundle(bundle.folder, bundle.card.model_copy(update={"num_heads": 2}), bundle.digest)
    with pytest.raises(BundleError, match=r"temperature\.onnx: the card asks for heads_a"):
        PairScorer.load(other)


def test_a_certain_calibration_does_not_overflow(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    steep = CALIBRATION.model_copy(update={"slope": 1e6, "intercept": -5e5})
    other = Bundle(bundle.folder, bundle.card.model_copy(update={"calibration": steep}), bundle.digest)
    with np.errstate(all="raise"):
        found = PairScorer.load(other).cross(some(3, 1), some(3, 1))
    assert found.probability is not None
    assert set(np.unique(found.probability)) <= {0.0, 1.0}
