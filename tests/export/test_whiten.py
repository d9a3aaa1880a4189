"""Whitening: what it does to features, and that the exported encoder does it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from amcl_serve.model.bundle import Bundle, Whitening
from amcl_serve.model.encoder import Encoder
from export.__main__ import main
from export.graphs.int8 import to_int8
from export.graphs.traced import write_encoder
from export.networks import embed, onnx_network, torch_network
from export.sources.checkpoint import served
from export.whiten import fit
from tests.export.tiny import SIZE, make_photo_folder, make_run, photos
from training.run.checkpoint import load_model


def cornered(count, seed=0):
    """Features as a network ends in: all in one corner, most of the variance in a few directions."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(16, 16)))
    mixing = np.linspace(3, 0.2, 16)[:, None] * axes
    return rng.normal(size=(count, 16)) @ mixing + 20


def spectrum(features):
    return np.linalg.eigvalsh(np.cov(features, rowvar=False))


@pytest.mark.parametrize(("kind", "power"), [("full", 0.0), ("half", 0.5), ("centre", 1.0)])
def test_eigenvalues_get_the_power_that_is_left_to_them(kind, power):
    x = cornered(20_000)
    found = fit(x, kind)
    y = (x - found.centre) @ found.matrix
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-3)
    shares = spectrum(x) / spectrum(x).mean()
    expected = spectrum(x).mean() * shares**power
    np.testing.assert_allclose(spectrum(y), expected, rtol=0.1)  # the covariance is shrunk a little
    np.testing.assert_allclose(found.matrix, found.matrix.T, atol=1e-5)


def test_none_is_none():
    assert fit(cornered(10), "none") is None


def test_few_images_and_directions_without_variance_stay_finite():
    found = fit(cornered(5), "full")
    assert np.isfinite(found.matrix).all()
    x = cornered(500_000)
    x[:, 3] = 0  # among so many images the covariance is hardly shrunk: an eigenvalue of nearly 0
    largest = np.linalg.eigvalsh(fit(x, "full").matrix).max()
    assert largest == pytest.approx(100, rel=1e-3)  # the smallest share's, to the power -1/2


@pytest.mark.parametrize("features", [np.zeros((1, 4)), np.zeros(4), np.full((3, 4), np.nan)])
def test_wrong_input_is_refused(features):
    with pytest.raises(ValueError, match="at least two images"):
        fit(features, "half")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("whiten") / "run")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("photos")
    return make_photo_folder(home / "held-out", 70, seed=3), make_photo_folder(home / "train", 90, seed=4)


def cosines(features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]


@pytest.mark.slow
def test_an_export_with_images_whitens_and_says_so(run, folders, tmp_path, capsys):
    held_out, train = folders
    given = ["--checkpoint", str(run), "--precision", "fp32", "--images", str(held_out), "--train-images", str(train)]
    assert main([*given, "--out", str(tmp_path / "half")]) == 0
    assert "whitening features (half) on 90 training images" in capsys.readouterr().out
    assert main([*given, "--out", str(tmp_path / "none"), "--whiten", "none"]) == 0
    half, none = (Bundle.open(tmp_path / name) for name in ("half", "none"))
    assert half.card.whitening == Whitening(kind="half", images=90, of="training images")
    assert none.card.whitening is None
    assert {"knn_fp32", "knn_unwhitened", "knn_untrained"} <= set(half.card.metrics)
    assert "knn_unwhitened" not in none.card.metrics
    assert half.card.metrics["knn_unwhitened"].value == none.card.metrics["knn_fp32"].value
    pixels = photos(40, seed=11)
    whitened, plain = (Encoder.load(bundle, session_threads=1).encode(pixels) for bundle in (half, none))
    assert abs(cosines(whitened.features).mean()) < 0.2 < 0.5 < cosines(plain.features).mean()
    np.testing.assert_allclose(whitened.heads, plain.heads, atol=1e-5)


def test_int8_leaves_the_last_layer_in_float(run, tmp_path):
    encoder = served(*load_model(run))
    features = embed(torch_network(encoder), photos(200, seed=1)).features
    encoder.whiten(fit(features, "half"))
    write_encoder(encoder, tmp_path / "fp32.onnx")
    to_int8(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", photos(32, seed=20), lambda _: 0.0)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    producers = {name: node for node in graph.node for name in node.output}
    last = producers["features"]
    assert last.op_type == "MatMul"
    centring = producers[last.input[0]]
    assert centring.op_type == "Sub"
    assert producers[centring.input[0]].op_type != "DequantizeLinear"  # features that were never rounded to 8 bits
    assert producers[last.input[1]].op_type == "Cast"  # of the matrix, kept as fp16
    found = embed(onnx_network(tmp_path / "int8.onnx"), photos(200, seed=1)).features
    assert np.abs(found.mean(axis=0)).max() < 0.2 * found.std()


def test_held_out_images_serve_where_there_are_no_others(run, folders, tmp_path):
    given = ["--checkpoint", str(run), "--precision", "fp32", "--images", str(folders[0])]
    assert main([*given, "--out", str(tmp_path / "model"), "--whiten", "full"]) == 0
    card = Bundle.open(tmp_path / "model").card
    assert (card.whitening.kind, card.whitening.images, card.whitening.of) == ("full", 70, "held-out images")


def test_without_images_nothing_is_whitened_unless_asked(run, tmp_path, capsys):
    given = ["--checkpoint", str(run), "--precision", "fp32", "--out", str(tmp_path / "model")]
    assert main(given) == 0
    assert Bundle.open(tmp_path / "model").card.whitening is None
    assert main([*given, "--whiten", "half"]) == 2
    assert "--whiten half needs --images" in capsys.readouterr().err


def test_a_network_may_be_served_at_another_size(run, folders, tmp_path):
    given = ["--checkpoint", str(run), "--precision", "fp32", "--images", str(folders[0]), "--whiten", "none"]
    assert main([*given, "--out", str(tmp_path / "model"), "--image-size", "48"]) == 0
    bundle = Bundle.open(tmp_path / "model")
    assert (bundle.card.input.size, bundle.card.config["data"]["image_size"]) == (48, SIZE)
    pixels = photos(3, seed=1, size=48)
    model, config = load_model(run)
    with torch.inference_mode():
        expected, _ = served(model, config, 48)(torch.from_numpy(pixels))
    found = Encoder.load(bundle, session_threads=1).encode(pixels).features
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_sizes_that_cannot_be_served_are_refused(run, tmp_path, capsys):
    vit = make_run(tmp_path / "vit", "backbone.name=vit", "backbone.depth=2", "backbone.attention_heads=2")
    for source, size, says in ((run, "4", "give 8 to 1024"), (vit, "48", "a ViT keeps the 32 pixels")):
        arguments = ["--checkpoint", str(source), "--out", str(tmp_path / "model"), "--image-size", size]
        assert main(arguments) == 2
        assert says in capsys.readouterr().err
