"""The command: what it writes, what it refuses, and that nothing half-done is ever left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from PIL import Image

from amcl_serve.model.bundle import CARD_FILE, Bundle, encoder_file
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pair_scorer import PairScorer
from export.__main__ import main
from export.graphs import float16, int8
from export.verify import SCALED_DECODING_COSINE
from tests.export.tiny import SIZE, make_photo_folder, make_run, photos, save
from training import methods
from training.config import override, recipes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory):
    return make_photo_folder(tmp_path_factory.mktemp("photos") / "few", 70, seed=3)


def export(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_without_images_it_writes_fp32_and_fp16_and_prints_their_parity(run, tmp_path, capsys):
    texts = ["--name", "small", "--description", "Says hello.", "--licence", "MIT", "--note", "one", "--note", "two"]
    assert export("--checkpoint", run, "--out", tmp_path / "model", *texts) == 0
    bundle = Bundle.open(tmp_path / "model")
    card = bundle.card
    assert bundle.precisions == ("fp32", "fp16")
    assert (card.name, card.description, card.licence, card.notes) == ("small", "Says hello.", "MIT", ["one", "two"])
    assert (card.calibration, card.metrics) == (None, {})
    assert set(card.parity) == set(card.probe.features) == {"fp32", "fp16"}
    out = capsys.readouterr().out
    for word in ("synthetic", "fp32", "fp16", "features", "heads", "wrote bundle small"):
        assert word in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_the_bundle_holds_no_path_of_its_author(run, tmp_path):
    assert export("--checkpoint", run, "--out", tmp_path / "model") == 0
    for path in (tmp_path / "model").iterdir():
        data = path.read_bytes()
        for secret in (b"/home/someone", str(tmp_path).encode(), str(Path.cwd()).encode(), b"site-packages"):
            assert secret not in data, path.name
    card = json.loads((tmp_path / "model" / CARD_FILE).read_text())
    assert card["config"]["data"]["spec"] == card["training_data"] == "folder:photos"


@pytest.mark.slow
def test_large_photographs_decide_on_scaled_decoding(run, photo_folder, tmp_path):
    for index, photo in enumerate(photos(40, seed=6, size=160)):
        Image.fromarray(photo).save(tmp_path / f"{index}.jpg", quality=95)
    given = ("--checkpoint", run, "--precision", "fp32")
    assert export(*given, "--out", tmp_path / "small", "--images", photo_folder) == 0
    assert export(*given, "--out", tmp_path / "large", "--images", photo_folder, "--large-images", tmp_path) == 0
    small, large = (Bundle.open(tmp_path / name).card for name in ("small", "large"))
    assert not small.input.scaled_jpeg_decoding
    assert "scaled_decoding_cosine" not in small.metrics
    assert large.metrics["scaled_decoding_cosine"].value >= SCALED_DECODING_COSINE[True]  # whitened
    assert large.input.scaled_jpeg_decoding
    assert "pair_auroc" in large.metrics


def test_precision_chooses_the_files(run, tmp_path):
    assert export("--checkpoint", run / "checkpoint.pt", "--out", tmp_path / "half", "--precision", "fp16") == 0
    names = {path.name for path in (tmp_path / "half").iterdir()}
    assert names == {"encoder.fp16.onnx", "temperature.onnx", "card.json"}


def test_a_bundle_is_replaced_and_anything_else_is_left_alone(run, tmp_path, capsys):
    out = tmp_path / "model"
    assert export("--checkpoint", run, "--out", out, "--precision", "fp32") == 0
    assert export("--checkpoint", run, "--out", out, "--precision", "fp16") == 0
    assert Bundle.open(out).precisions == ("fp16",)
    (out / CARD_FILE).unlink()
    assert export("--checkpoint", run, "--out", out) == 2
    assert "is no bundle" in capsys.readouterr().err
    assert (out / encoder_file("fp16")).is_file()


def test_a_damaged_file_is_refused_with_its_figures_and_the_old_bundle_stands(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "model"
    assert export("--checkpoint", run, "--out", out, "--precision", "fp32") == 0
    before = (out / CARD_FILE).read_bytes()
    honest = float16.to_fp16

    def damaged(source, target, **options):
        honest(source, target, **options)
        model = onnx.load(target)
        weight = next(w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT16 and len(w.dims) > 1)
        values = numpy_helper.to_array(weight).copy()
        values[: len(values) // 2] *= -1
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(model, target)

    monkeypatch.setattr(float16, "to_fp16", damaged)
    assert export("--checkpoint", run, "--out", out) == 1
    error = capsys.readouterr().err
    assert error.startswith("export: no bundle was written: fp16 features_min_cosine is 0.")
    assert "at least 0.9995 is needed" in error
    assert len(error.splitlines()) == 1
    assert (out / CARD_FILE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_a_coarse_int8_is_left_out_unless_asked_for(run, photo_folder, tmp_path, monkeypatch, capsys):
    def useless(source, target, ranges, quality):
        model = onnx.load(source)
        weight = next(w for w in model.graph.initializer if w.name.endswith("weight") and len(w.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
        onnx.save(model, target)
        return "nothing"

    monkeypatch.setattr(int8, "to_int8", useless)
    given = ("--checkpoint", run, "--images", photo_folder)
    assert export(*given, "--out", tmp_path / "model") == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: int8 is left out: int8 features_mean_cosine is")
    bundle = Bundle.open(tmp_path / "model")
    assert bundle.precisions == ("fp32", "fp16")
    assert set(bundle.card.parity) == {"fp32", "fp16"}
    assert export(*given, "--out", tmp_path / "other", "--precision", "fp32,int8") == 1
    assert "no bundle was written: int8 features_mean_cosine is" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_network_that_has_diverged_is_refused(run, tmp_path, capsys):
    import torch

    from tests.export.tiny import save
    from training.run.checkpoint import load_model

    model, config = load_model(run)
    with torch.no_grad():
        model.backbone.conv1.weight[0] = float("nan")
    (tmp_path / "broken").mkdir()
    save(tmp_path / "broken", model, config)
    assert export("--checkpoint", tmp_path / "broken", "--out", tmp_path / "model") == 1
    assert "fp32 features_max_abs is nan" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_wrong_usage_is_one_line_and_status_2(run, photo_folder, tmp_path, capsys):
    few = make_photo_folder(tmp_path / "few", 10, seed=4)
    flat = make_photo_folder(tmp_path / "flat", 30, seed=4, classes=0)
    bad = make_photo_folder(tmp_path / "bad", 70, seed=4)
    next(bad.rglob("*_3.JPEG")).write_bytes(b"\xff\xd8\xff no more")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("keep me")
    out = ("--checkpoint", run, "--out", tmp_path / "model")
    for arguments, message in (
        ((*out, "--precision", "int8"), "int8 needs --images"),
        ((*out, "--precision", "fp64"), "fp32, fp16, int8"),
        ((*out, "--precision", ""), "fp32, fp16, int8"),
        ((*out, "--name", "Not A Name"), "--name 'Not A Name'"),
        ((*out, "--images", tmp_path / "nowhere"), "is no folder of images"),
        ((*out, "--images", tmp_path / "notes"), "no images under"),
        ((*out, "--images", few), "holds 10 images; at least 64"),
        ((*out, "--images", bad), "_3.JPEG"),
        ((*out, "--train-images", photo_folder), "--train-images needs --images"),
        ((*out, "--images", photo_folder, "--train-images", flat), "kNN needs labels"),
        ((*out, "--images", photo_folder, "--train-images", few), "holds 10 images; at least 20"),
        ((*out, "--large-images", photo_folder), "too few JPEGs with sides of 128 pixels or more; at least 32"),
        (("--checkpoint", tmp_path, "--out", tmp_path / "model"), "no checkpoint at"),
        (("--checkpoint", few / "n00000000" / "n00000000_0.JPEG", "--out", tmp_path / "model"), "not a checkpoint"),
        (("--checkpoint", run, "--out", tmp_path / "notes"), "is no bundle"),
        (("--checkpoint", run, "--out", tmp_path / "a" / "b"), "does not exist"),
    ):
        assert export(*arguments) == 2, message
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("export: ")
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "notes" / "a.txt").read_text() == "keep me"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_help_reads_like_a_manual(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    for flag in ("--checkpoint", "--out", "--precision", "--images", "--train-images", "--name", "examples:"):
        assert flag in out
    assert np.max([len(line) for line in out.splitlines()]) <= 120


@pytest.mark.parametrize("adaptive", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_method_is_exported_and_serves(tmp_path, name, adaptive):
    config = recipes.recipe(name)
    config = recipes.adaptive(config) if adaptive else config
    small = [f"data.image_size={SIZE}", "backbone.width=16", "heads.hidden=32", "heads.dim=16"]
    small += ["backbone.depth=2", "backbone.attention_heads=2"] if config.backbone.name == "vit" else []
    torch.manual_seed(2)
    method = methods.build(override(config, small))
    (tmp_path / "run").mkdir()
    save(tmp_path / "run", method.model, override(config, small))
    out = tmp_path / "model"
    assert main(["--checkpoint", str(tmp_path / "run"), "--out", str(out), "--precision", "fp32"]) == 0
    bundle = Bundle.open(out)
    assert (bundle.card.method, bundle.card.num_heads) == (name, 3 if adaptive else 1)
    varies = adaptive and name != "barlow_twins"  # whose temperatures belong to channels
    assert bundle.card.temperature.kind == ("adaptive" if varies else "constant")
    embeddings = Encoder.load(bundle, session_threads=1).encode(photos(2, seed=1))
    scores = PairScorer.load(bundle).score(embeddings, embeddings)
    np.testing.assert_allclose(scores.score, 1, atol=1e-5)
    assert (scores.uncertainty is not None) == varies
