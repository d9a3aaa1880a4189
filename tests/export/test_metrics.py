"""The card's metrics on networks whose worth is known."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from amcl_serve.evaluation.protocols.view_sets import order, range_indices
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.encoder import Embeddings
from amcl_serve.model.pair_scorer import PairScorer
from export.images import ImageSet, folder_images, reported_indices
from export.metrics import measure_knn, measure_pairs
from export.sources.checkpoint import data_name
from tests.export.tiny import make_photo_folder

SPEC = InputSpec(size=16)
OMEGA = (1.0, 4.0)


class CosineScorer(PairScorer):
    """The cosine of each head, at a constant temperature."""

    def __init__(self):
        pass

    def score(self, a, b):
        class Scores:
            feature_similarity = (a.features * b.features).sum(1) / 8
            head_similarity = (a.heads * b.heads).sum(2)
            temperature = np.full_like(head_similarity, 0.1)

        return Scores()


def ignorant(pixels):
    """Embeds every image by chance."""
    rng = np.random.default_rng(int(pixels.sum()) % 2**32)
    heads = rng.normal(size=(len(pixels), 1, 8))
    return Embeddings(
        rng.normal(size=(len(pixels), 8)).astype(np.float32), heads / np.linalg.norm(heads, axis=-1, keepdims=True)
    )


def mean_colours(pixels):
    """Knows an image by its hue, whatever the crop."""
    mean = pixels.mean(axis=(1, 2)).astype(np.float32)
    hue = mean - mean.mean(axis=1, keepdims=True) + 1e-3
    return Embeddings(hue, (hue / np.linalg.norm(hue, axis=1, keepdims=True))[:, None])


@pytest.fixture(scope="module")
def images():
    """101 flat colours in four classes of lightness."""
    contents = []
    for index in range(101):
        buffer = BytesIO()
        Image.new("HSV", (20, 20), (index * 97 % 256, 255, 100 + 50 * (index % 4))).convert("RGB").save(buffer, "PNG")
        contents.append(buffer.getvalue())
    return ImageSet([f"{i}.png" for i in range(101)], contents.__getitem__, [str(i % 4) for i in range(101)])


def test_pairs_of_a_network_that_sees_and_of_one_that_guesses(images):
    sees = measure_pairs(mean_colours, CosineScorer(), images, SPEC, precision="fp32", omega=OMEGA)
    guesses = measure_pairs(ignorant, CosineScorer(), images, SPEC, precision="fp32", omega=OMEGA)
    assert sees.calibration.auroc > 0.75
    assert sees.calibration.slope > 0
    assert guesses.calibration.auroc == pytest.approx(0.5, abs=0.2)
    assert guesses.calibration.accuracy == pytest.approx(0.5, abs=0.2)
    assert sees.calibration.brier < guesses.calibration.brier
    # 101 images: 32 give int8 its ranges, 34 fit, 34 report, each with as many negatives as positives
    assert sees.calibration.pairs == 4 * 34
    assert "34 positive pairs" in sees.metrics["pair_auroc"].protocol
    assert sees.metrics["pair_auroc"].value == sees.calibration.auroc
    assert not [name for name in sees.metrics if "head" in name]  # one head, at a constant temperature:
    assert [name for name in sees.metrics if "aurc" in name] == ["pair_aurc_margin"]


def colours_and_chance(pixels):
    """Three heads: two that know the hue, one blurred by noise, and one that guesses."""
    rng = np.random.default_rng(int(pixels.sum()) % 2**32)
    hue = mean_colours(pixels)
    guess = rng.normal(size=hue.heads.shape)
    blurred = hue.heads + 1.5 * guess
    heads = np.concatenate([hue.heads, blurred, rng.normal(size=hue.heads.shape)], axis=1)
    return Embeddings(hue.features, heads / np.linalg.norm(heads, axis=-1, keepdims=True))


def test_heads_that_see_weigh_more(images):
    found = measure_pairs(colours_and_chance, CosineScorer(), images, SPEC, precision="fp32", omega=OMEGA)
    auroc = {name: metric.value for name, metric in found.metrics.items() if name.startswith("pair_auroc")}
    assert found.score.weighting == "weights"
    assert found.score.weights[0] > found.score.weights[1] > found.score.weights[2]
    assert auroc["pair_auroc"] == auroc["pair_auroc_weights"] == found.calibration.auroc
    assert auroc["pair_auroc_weights"] > auroc["pair_auroc_mean"]
    assert found.feature_calibration.auroc == auroc["pair_auroc_features"] != found.calibration.auroc
    assert "the features' cosine" in found.feature_calibration.protocol
    assert found.feature_calibration.slope > 0
    # A constant temperature: three names of one order, and nothing to order certainties by.
    assert (
        auroc["pair_auroc_mean"] == auroc["pair_auroc_inverse_variance"] == pytest.approx(auroc["pair_auroc_density"])
    )
    assert {name for name in found.metrics if name.startswith("pair_aurc")} == {
        "pair_aurc_margin",
        "pair_aurc_disagreement",
    }
    assert found.metrics["pair_aurc_margin"].value < 1 - found.calibration.accuracy  # it knows where it errs
    assert -1 <= found.metrics["head_correlation_positives"].value <= 1


def test_pairs_are_the_same_every_time(images):
    assert measure_pairs(mean_colours, CosineScorer(), images, SPEC, precision="fp32", omega=OMEGA) == measure_pairs(
        mean_colours, CosineScorer(), images, SPEC, precision="fp32", omega=OMEGA
    )


def test_knn_decodes_once_for_all_networks(images):
    calls = []

    def watched(pixels):
        calls.append(len(pixels))
        return mean_colours(pixels)

    found = measure_knn({"same": watched, "chance": ignorant}, images, images, SPEC)
    assert sum(calls) == 202
    assert set(found) == {"knn_same", "knn_chance"}
    assert "bank 101 training images, 101 held-out queries, 4 classes" in found["knn_same"].protocol


def test_labels_are_the_first_level_of_folders(tmp_path):
    make_photo_folder(tmp_path / "deep" / "cats", 6, seed=7)
    make_photo_folder(tmp_path / "deep" / "dogs", 6, seed=8)
    assert folder_images(tmp_path / "deep").labels == ["cats"] * 6 + ["dogs"] * 6
    assert folder_images(tmp_path / "deep" / "cats" / "n00000000").labels is None
    assert folder_images(tmp_path).labels is None  # one folder tells nothing apart


def test_a_data_specification_loses_its_path():
    assert data_name("folder:/home/someone/photos") == "folder:photos"
    assert data_name("") == ""


def test_nothing_is_reported_on_images_that_gave_ranges():
    for count, size in ((64, 16), (600, 64), (5000, 64), (300, 512)):
        ranges, reported = range_indices(count, size), reported_indices(count, size, seed=0)
        assert sorted(ranges + reported) == list(range(count))
        assert len(ranges) % 32 == 0
        assert 32 <= len(ranges) <= 256


@pytest.mark.parametrize(("count", "size"), [(40, 64), (1000, 64), (5000, 224)])
def test_an_evaluation_takes_the_images_that_the_card_takes(count, size):
    reported = reported_indices(count, size, seed=0)
    shuffled = order(count, size, seed=0)
    assert shuffled[: len(reported)] == reported
    assert sorted(shuffled) == list(range(count))
