"""Export and serving agree: a bundle written by one is what the other loads, pixel for pixel and pair for pair."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import v2

from amcl_serve.model.bundle import PRECISIONS, Bundle, InputSpec
from amcl_serve.model.encoder import Embeddings, Encoder
from amcl_serve.model.pair_scorer import PairScorer
from amcl_serve.model.pixels import decode
from export.__main__ import main
from export.sources.checkpoint import served
from export.verify import misses, parity
from tests.export.tiny import SIZE, make_run, photos, save
from training.data import FolderImages, Plain
from training.run.checkpoint import load_model


@pytest.fixture(scope="module")
def encoders(bundle) -> dict[str, Encoder]:
    return {p: Encoder.load(bundle, precision=p, session_threads=1) for p in PRECISIONS}


def test_the_server_loads_every_precision_and_finds_its_probe(bundle, encoders):
    assert bundle.precisions == PRECISIONS
    for precision, encoder in encoders.items():
        encoder.verify_probe()
        assert encoder.precision == precision
    assert Encoder.load(bundle, session_threads=1).precision == "int8"


def test_the_card_tells_the_network(bundle, run):
    model, config = load_model(run)
    card = bundle.card
    assert (card.feature_dim, card.num_heads, card.head_dim) == (model.feature_dim, model.num_heads, model.head_dim)
    assert card.input == InputSpec(size=SIZE)
    t = config.temperature
    assert (card.temperature.kind, card.temperature.low, card.temperature.high) == ("adaptive", t.low, t.high)
    assert card.calibration is not None
    assert card.metrics["pair_auroc"].value == card.calibration.auroc
    assert card.metrics["pair_auroc_features"].value == card.feature_calibration.auroc
    loss = card.metrics["knn_fp32"].value - card.metrics["knn_int8"].value
    assert card.metrics["knn_int8_loss"].value == pytest.approx(loss)
    assert set(card.metrics) >= {"knn_fp16", "knn_untrained", "pair_auroc_features", "pair_overlap"}


def test_embeddings_agree_with_pytorch_on_new_images(run, encoders):
    encoder = served(*load_model(run))
    pixels = photos(64, seed=9)
    with torch.no_grad():
        reference = Embeddings(*(out.numpy() for out in encoder(torch.from_numpy(pixels))))
    for precision, encoder in encoders.items():
        assert misses(precision, parity(reference, encoder.encode(pixels))) == []


def test_the_reference_is_the_trained_network_on_normalised_pixels(run):
    model, config = load_model(run)
    pixels = photos(4, seed=10)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.data.mean, config.data.std))
    with torch.no_grad():
        features, heads = model((x - mean) / std)
        served_features, served_heads = served(model, config)(torch.from_numpy(pixels))
    torch.testing.assert_close(served_features, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(served_heads, F.normalize(heads, dim=-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_batch_of_one_equals_a_batch_of_32(encoders, precision):
    pixels = photos(32, seed=11)
    together = encoders[precision].encode(pixels)
    alone = [encoders[precision].encode(pixels[i : i + 1]) for i in range(32)]
    scale = np.abs(together.features).max()
    assert np.abs(np.concatenate([e.features for e in alone]) - together.features).max() <= 1e-5 * scale
    assert np.abs(np.concatenate([e.heads for e in alone]) - together.heads).max() <= 1e-5


def test_heads_have_norm_one(encoders):
    for encoder in encoders.values():
        heads = encoder.encode(photos(8, seed=12)).heads
        np.testing.assert_allclose(np.linalg.norm(heads, axis=-1), 1, atol=1e-5)


def test_served_temperatures_are_the_models(bundle, run, encoders):
    model, _ = load_model(run)
    a, b = (encoders["fp32"].encode(photos(16, seed=seed)) for seed in (13, 14))
    with torch.no_grad():
        expected = model.temperature(torch.from_numpy(a.heads), torch.from_numpy(b.heads)).numpy()
    scores = PairScorer.load(bundle).score(a, b)
    np.testing.assert_allclose(scores.temperature, expected, rtol=1e-5)
    rule = bundle.card.pair_score
    weights = {"mean": np.ones_like(expected), "inverse_variance": 1 / expected}.get(rule.weighting)
    weights = np.broadcast_to(rule.weights, expected.shape) if weights is None else weights
    combined = ((a.heads * b.heads).sum(-1) * weights).sum(1) / weights.sum(1)
    np.testing.assert_allclose(scores.score, combined, atol=1e-5)
    assert scores.uncertainty is not None
    assert scores.probability is not None


@pytest.mark.parametrize("of", ["views", "similarity"])
def test_other_temperatures_are_served_as_trained(of, tmp_path):
    run = make_run(tmp_path / "run", f"temperature.of={of}", "loss.heads=joint")
    model, _ = load_model(run)
    with torch.no_grad():  # as training would leave them: not all pairs alike
        for parameter in model.temperature.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save(run, model, load_model(run)[1])
    assert main(["--checkpoint", str(run), "--out", str(tmp_path / "model"), "--precision", "fp32"]) == 0
    bundle = Bundle.open(tmp_path / "model")
    a, b = (Encoder.load(bundle, session_threads=1).encode(photos(16, seed=seed)) for seed in (13, 14))
    with torch.no_grad():
        expected = model.temperature(torch.from_numpy(a.heads), torch.from_numpy(b.heads)).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(PairScorer.load(bundle).score(a, b).temperature, expected, rtol=1e-5)


def test_a_standard_model_takes_the_same_path(tmp_path):
    run = make_run(tmp_path / "run", "temperature.value=0.2", standard=True)
    assert main(["--checkpoint", str(run), "--out", str(tmp_path / "standard"), "--precision", "fp32"]) == 0
    bundle = Bundle.open(tmp_path / "standard")
    encoder = Encoder.load(bundle, session_threads=1)
    a, b = (encoder.encode(photos(5, seed=seed)) for seed in (15, 16))
    scores = PairScorer.load(bundle).score(a, b)
    t = bundle.card.temperature
    assert (bundle.card.num_heads, t.kind, t.low, t.high, t.value) == (1, "constant", 0.2, 0.2, 0.2)
    np.testing.assert_allclose(scores.temperature, 0.2)
    np.testing.assert_allclose(scores.score, (a.heads * b.heads).sum(-1)[:, 0], atol=1e-6)
    assert scores.uncertainty is None
    assert scores.probability is None


def test_a_picture_and_its_exif_rotated_copy_are_the_same_picture(bundle, encoders):
    picture = Image.fromarray(photos(1, seed=17, size=80)[0]).crop((0, 0, 80, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me 90 degrees clockwise"
    copy = picture.transpose(Image.Transpose.ROTATE_90)
    data = []
    for image, extra in ((picture, {}), (copy, {"exif": exif})):
        buffer = BytesIO()
        image.save(buffer, "PNG", **extra)
        data.append(decode(buffer.getvalue(), bundle.card.input, max_pixels=10**6))
    both = encoders["int8"].encode(np.stack(data))
    scorer = PairScorer.load(bundle)
    first, second = (Embeddings(both.features[i : i + 1], both.heads[i : i + 1]) for i in (0, 1))
    assert scorer.score(first, second).score[0] > 0.99
    assert np.abs(data[0].astype(int) - data[1].astype(int)).max() <= 2


@pytest.mark.parametrize("shape", [(64, 64), (100, 75), (75, 100), (200, 90), (20, 33)])
def test_the_server_sees_what_evaluation_in_training_sees(tmp_path: Path, shape):
    """The same pixels, and within half a pixel those of torchvision's Resize and CenterCrop, which round the corner."""
    photo = Image.fromarray(photos(1, seed=18, size=256)[0]).resize(shape, Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    served = decode((tmp_path / "photo.png").read_bytes(), InputSpec(size=SIZE), max_pixels=10**6)
    trained, good = Plain(FolderImages(tmp_path), np.array([0]), SIZE)[0]
    assert good
    np.testing.assert_array_equal(trained.numpy(), served)
    reference = np.array(v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE)])(photo)).astype(int)
    a_pixels_shift = max(np.abs(np.diff(reference, axis=axis)).mean() for axis in (0, 1))
    assert np.abs(served - reference).mean() <= 0.6 * a_pixels_shift
