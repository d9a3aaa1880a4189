"""Backbones other than ResNet-18: a ViT in every precision, and the deeper residual networks."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from amcl_serve.model.bundle import Bundle
from export.__main__ import main
from export.networks import embed, onnx_network, torch_network
from export.onnx import write_encoder
from export.quantize import to_fp16
from export.sources.checkpoint import served
from export.verify import misses, parity
from tests.export.tiny import make_photo_folder, make_run, photos
from training.run.checkpoint import load_model

VIT = ("backbone.name=vit", "backbone.width=48", "backbone.depth=2", "backbone.attention_heads=3", "backbone.patch=8")


@pytest.fixture(scope="module")
def vit_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("vit") / "run", *VIT)


def operators(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def test_a_vit_agrees_at_every_batch_size(vit_run, tmp_path):
    encoder = served(*load_model(vit_run))
    write_encoder(encoder, tmp_path / "fp32.onnx")
    to_fp16(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx")
    counts = operators(tmp_path / "fp32.onnx")
    assert counts["MatMul"] == 1 + 2 * (4 + 2)  # the patch embedding; in a block four linear layers and attention's two
    assert counts["LayerNormalization"] == 2 * 2 + 1
    assert counts["Gather"] == counts["Expand"] == counts["ScatterND"] == 0
    for count in (1, 7, 32):
        pixels = photos(count, seed=count)
        reference = embed(torch_network(encoder), pixels)
        for precision in ("fp32", "fp16"):
            found = embed(onnx_network(tmp_path / f"{precision}.onnx"), pixels)
            assert misses(precision, parity(reference, found)) == []


def test_the_command_writes_a_vit_in_every_precision(vit_run, tmp_path, capsys):
    images = make_photo_folder(tmp_path / "photos", 70, seed=3)
    assert main(["--checkpoint", str(vit_run), "--out", str(tmp_path / "model"), "--images", str(images)]) == 0, (
        capsys.readouterr().err
    )
    bundle = Bundle.open(tmp_path / "model")
    assert bundle.precisions == ("fp32", "fp16", "int8")
    int8 = bundle.card.parity["int8"]
    assert 0.99 < int8.features_mean_cosine < 1
    model = onnx.load(tmp_path / "model" / "encoder.int8.onnx")
    weights = [numpy_helper.to_array(w) for w in model.graph.initializer if w.data_type == TensorProto.INT8]
    matrices = [w for w in weights if w.ndim == 2]
    assert len(matrices) == 1 + 2 * 4 + 6  # every linear layer, of the backbone and of three heads
    assert all(np.abs(w.astype(int)).max() <= 64 for w in matrices)  # 7 bits


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layers"), [("resnet34", 36), ("resnet50", 53)])
def test_deeper_residual_networks_are_as_lean_and_as_exact(tmp_path, name, layers):
    run = make_run(tmp_path / "run", f"backbone.name={name}", "backbone.width=8")
    encoder = served(*load_model(run))
    write_encoder(encoder, tmp_path / "fp32.onnx")
    to_fp16(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx")
    counts = operators(tmp_path / "fp32.onnx")
    assert counts["Conv"] == layers
    assert counts["ReduceMean"] == 1
    assert counts["BatchNormalization"] == counts["Gather"] == counts["Shape"] == 0
    pixels = photos(40, seed=2)
    reference = embed(torch_network(encoder), pixels)
    for precision in ("fp32", "fp16"):
        found = embed(onnx_network(tmp_path / f"{precision}.onnx"), pixels)
        assert misses(precision, parity(reference, found)) == []
