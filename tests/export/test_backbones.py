"""Backbones other than ResNet-18: a ViT in every precision, and the deeper residual networks."""

from __future__ import annotations

import collections
import hashlib

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, numpy_helper

from amcl_serve.model.bundle import Bundle
from export.__main__ import main
from export.graphs.float16 import to_fp16
from export.graphs.traced import write_encoder
from export.networks import embed, onnx_network, torch_network
from export.sources.checkpoint import served
from export.verify import misses, parity
from tests.export.tiny import make_photo_folder, make_run, photos, save
from training import pretrain
from training.config import override
from training.config.recipes import recipe
from training.model.model import AmclModel
from training.run.checkpoint import load_model
from training.run.weights import FILE

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


SLOW = [
    "torchvision:mobilenet_v3_small",
    *(f"timm:test_{name}" for name in ("resnet", "convnext", "efficientnet", "nfnet")),
]
NAMED = ["timm:test_vit", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("name", NAMED)
def test_networks_of_libraries_agree_at_every_batch_size(tmp_path, name):
    run = make_run(tmp_path / "run", f"backbone.name={name}", "data.mean=0.5,0.4,0.3", "data.std=0.2,0.3,0.4")
    encoder = served(*load_model(run))
    write_encoder(encoder, tmp_path / "fp32.onnx")
    if "nfnet" not in name:  # whose weights are normalised by the same operator
        assert operators(tmp_path / "fp32.onnx")["BatchNormalization"] == 0
    for count in (1, 7, 32):
        pixels = photos(count, seed=count)
        reference = embed(torch_network(encoder), pixels)
        found = embed(onnx_network(tmp_path / "fp32.onnx"), pixels)
        assert misses("fp32", parity(reference, found)) == []
    by_hand = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    by_hand = (by_hand - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    with torch.no_grad():
        features = encoder.network.backbone(by_hand).numpy()
    np.testing.assert_allclose(found.features, features, atol=1e-4 * np.abs(features).max())


def test_the_command_writes_a_network_of_timms(tmp_path, capsys):
    folder = make_photo_folder(tmp_path / "photos", 16, seed=3)
    weights = timm.create_model("test_resnet").state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    words = ["backbone.name=timm:test_resnet", "data.image_size=32", "train.batch_size=8", "train.max_steps=1"]
    words += ["data.workers=0", "train.device=cpu", "heads.hidden=16", "heads.dim=8", "train.lr=1e-30"]
    run = ["--data", f"folder:{folder}", "--out", str(tmp_path / "run"), "--init", str(tmp_path / "weights.pth")]
    assert pretrain.main([*words, *run]) == 0
    command = ["--checkpoint", str(tmp_path / "run"), "--precision", "fp32"]
    assert main([*command, "--out", str(tmp_path / "model")]) == 0, capsys.readouterr().err
    card = Bundle.open(tmp_path / "model").card
    assert (card.backbone, card.config["train"]["init"]) == ("timm:test_resnet", "weights.pth")
    assert card.config["train"]["init_hash"] == hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    pixels = photos(4, seed=1)
    features = onnx_network(tmp_path / "model" / "encoder.fp32.onnx")(pixels).features
    # Weights are still those of the file; running means have moved by a step.
    network = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(tmp_path / "run" / FILE)).eval()
    torch.testing.assert_close(network.state_dict()["conv1.0.weight"], weights["conv1.0.weight"])
    with torch.no_grad():
        theirs = network((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(features, theirs, atol=1e-4 * np.abs(theirs).max())


def test_a_network_of_one_size_is_served_at_that(tmp_path, capsys):
    config = override(recipe("simclr"), ["backbone.name=timm:vit_tiny_patch16_224", "data.image_size=32"])
    (run := tmp_path / "run").mkdir()
    save(run, AmclModel(config), config)
    command = ["--checkpoint", str(run), "--out", str(tmp_path / "model"), "--image-size", "48"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "--image-size 48: timm:vit_tiny_patch16_224 does not take images of 48 pixels a side" in error
