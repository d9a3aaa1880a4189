"""The bundle that ships: whole, small, as good as its card says it must be, and right on a few pictures."""

from __future__ import annotations

from io import BytesIO
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.model import pixels as images
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Embeddings, Encoder, unit_norm
from amcl_serve.model.pair_scorer import PairScorer
from tests.images import oriented

ASSETS = Path(__file__).parents[2] / "app" / "assets"
MiB = 1024 * 1024


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return Bundle.open(find_bundle("default"))


@pytest.fixture(scope="module", params=["int8", "fp16"])
def encoder(shipped: Bundle, request: pytest.FixtureRequest) -> Encoder:
    return Encoder.load(shipped, precision=request.param, session_threads=1)


def _embed(encoder: Encoder, *files: bytes) -> Embeddings:
    spec = encoder.bundle.card.input
    return encoder.encode(np.stack([images.decode(data, spec, max_pixels=10**8) for data in files]))


def _score(encoder: Encoder, a: bytes, b: bytes) -> float:
    found = PairScorer.load(encoder.bundle).score(_embed(encoder, a), _embed(encoder, b))
    return float(found.score[0])


def test_it_is_adaptive_small_and_computes_its_probe(shipped: Bundle, encoder: Encoder) -> None:
    card = shipped.card
    assert (card.method, card.num_heads, card.temperature.kind) == ("simclr", 3, "adaptive")
    assert (card.backbone, card.input.size, card.config["backbone"]["stem"]) == ("resnet18", 64, "imagenet")
    assert shipped.precisions == ("fp16", "int8")
    assert sum(path.stat().st_size for path in shipped.folder.iterdir()) <= 40 * MiB
    encoder.verify_probe()


def test_its_card_states_what_a_default_must_reach(shipped: Bundle) -> None:
    metrics = {name: metric.value for name, metric in shipped.card.metrics.items()}
    assert metrics["pair_auroc"] >= 0.985
    assert metrics["head_correlation_positives"] <= 0.9
    assert metrics["knn_int8"] >= 0.24
    assert metrics["knn_int8"] >= 3 * metrics["knn_untrained"]
    assert metrics["knn_fp16"] >= 3 * metrics["knn_untrained"]
    parity = shipped.card.parity
    assert min(parity["fp16"].features_min_cosine, parity["fp16"].heads_min_cosine) >= 0.9995
    assert min(parity["int8"].features_mean_cosine, parity["int8"].heads_mean_cosine) >= 0.99
    assert min(parity["int8"].features_p01_cosine, parity["int8"].heads_p01_cosine) >= 0.97


def test_two_views_of_one_picture_score_above_every_other_pair(encoder: Encoder) -> None:
    names = {"cat": "cat-mirrored", "cup": "cup-grey"}
    files = {path.stem: path.read_bytes() for path in ASSETS.glob("*.jpg")}
    same = [_score(encoder, files[a], files[b]) for a, b in names.items()]
    others = [
        _score(encoder, files[a], files[b]) for a, b in product(("cat", "cat-mirrored"), ("cup", "rocket", "stars"))
    ]
    assert min(same) > max(others)


def test_features_of_different_pictures_have_a_cosine_near_0(encoder: Encoder) -> None:
    twins = {frozenset({"cat", "cat-mirrored"}), frozenset({"cup", "cup-grey"})}
    files = {path.stem: path.read_bytes() for path in ASSETS.glob("*.jpg")}
    features = unit_norm(_embed(encoder, *files.values()).features)
    cosines = {
        frozenset({a, b}): float(features[i] @ features[j]) for (i, a), (j, b) in combinations(enumerate(files), 2)
    }
    assert min(cosines[twin] for twin in twins) > 0.7
    assert max(abs(cosine) for pair, cosine in cosines.items() if pair not in twins) < 0.2


def test_an_image_and_its_exif_rotated_copy_are_one(encoder: Encoder) -> None:
    photograph = Image.open(ASSETS / "cat.jpg")
    upright, turned = BytesIO(), BytesIO()
    photograph.save(upright, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph.transpose(Image.Transpose.ROTATE_90).save(turned, "JPEG", quality=95, exif=exif)
    assert _score(encoder, upright.getvalue(), turned.getvalue()) > 0.99
    assert _score(encoder, oriented(3, 1), oriented(3, 8)) > 0.99
