"""Networks of torchvision and timm: the bundle gives the features that PyTorch gives; what does not fit has a name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from amcl_serve.model.bundle import Bundle, InputSpec
from amcl_serve.model.encoder import Encoder
from export.__main__ import main
from tests.export.tiny import make_photo_folder, photos
from training.config.images import IMAGENET_MEAN, IMAGENET_STD

SIZE = 64


def export(*arguments) -> int:
    return main([str(a) for a in arguments])


def settled(network, size=SIZE):
    """Batch norms that have seen images, so that features differ between images as trained ones do."""
    network.train()
    with torch.no_grad():
        for _ in range(10):
            network(normalised(photos(16, seed=8, size=size)))
    return network.eval()


def normalised(pixels, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def agree(folder, pixels, features):
    found = Encoder.load(Bundle.open(folder), precision="fp32", session_threads=1).encode(pixels).features
    assert found.shape == features.shape
    assert np.abs(found - features.numpy()).max() <= 1e-4 * features.abs().max()


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """(network, file of its state dict)."""
    torch.manual_seed(1)
    network = settled(models.resnet18())
    path = tmp_path_factory.mktemp("resnet") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return network, path


def test_torchvisions_features(resnet, tmp_path):
    network, weights = resnet
    options = ("--weights", weights, "--image-size", SIZE, "--precision", "fp32")
    assert export("--torch", "torchvision:resnet18", *options, "--out", tmp_path / "model") == 0
    card = Bundle.open(tmp_path / "model").card
    assert card.input == InputSpec(size=SIZE, interpolation="bilinear", crop=224 / 256)
    assert (card.feature_dim, card.num_heads, card.temperature) == (512, 0, None)
    assert (card.backbone, card.config["weights"]) == ("torchvision:resnet18", "resnet18.pth")
    assert list(card.files) == ["encoder.fp32.onnx"]
    network.fc, fc = torch.nn.Identity(), network.fc
    pixels = photos(4, seed=1, size=SIZE)
    with torch.no_grad():
        agree(tmp_path / "model", pixels, network(normalised(pixels)))
    network.fc = fc


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_timms_features_with_its_own_preprocessing(tmp_path, name):
    import timm

    torch.manual_seed(2)
    network = timm.create_model(name, img_size=SIZE) if "vit" in name else timm.create_model(name)
    network = settled(network)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    options = ("--weights", tmp_path / "weights.safetensors", "--image-size", SIZE, "--precision", "fp32")
    assert export("--torch", f"timm:{name}", *options, "--out", tmp_path / "model") == 0
    card = Bundle.open(tmp_path / "model").card
    published = network.pretrained_cfg
    assert (card.input.interpolation, card.input.crop) == (published["interpolation"], published["crop_pct"])
    assert card.config["mean"] == list(published["mean"])
    network.reset_classifier(0)
    pixels = photos(4, seed=1, size=SIZE)
    with torch.no_grad():
        agree(tmp_path / "model", pixels, network(normalised(pixels, published["mean"], published["std"])))


def test_flags_override_what_is_known(resnet, tmp_path):
    network, weights = resnet
    options = ("--mean", "0.1,0.2,0.3", "--std", "1,1,1", "--interpolation", "bicubic", "--crop", "1")
    options += ("--weights", weights, "--image-size", 32, "--precision", "fp32")
    assert export("--torch", "torchvision:resnet18", *options, "--out", tmp_path / "model") == 0
    assert Bundle.open(tmp_path / "model").card.input == InputSpec(size=32, interpolation="bicubic", crop=1)
    network.fc, fc = torch.nn.Identity(), network.fc
    pixels = photos(4, seed=1)
    with torch.no_grad():
        agree(tmp_path / "model", pixels, network(normalised(pixels, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))))
    network.fc = fc


@pytest.mark.slow
def test_a_vit_of_timm_in_int8(tmp_path):
    import timm

    torch.manual_seed(3)
    torch.save(timm.create_model("test_vit", img_size=32).state_dict(), tmp_path / "vit.pth")
    images = make_photo_folder(tmp_path / "photos", 70, seed=3)
    options = ("--weights", tmp_path / "vit.pth", "--image-size", 32, "--images", images, "--precision", "fp32,int8")
    assert export("--torch", "timm:test_vit", *options, "--out", tmp_path / "model") == 0
    bundle = Bundle.open(tmp_path / "model")
    assert 0.998 < bundle.card.parity["int8"].features_mean_cosine < 1
    assert bundle.card.calibration is not None
    weights = onnx.load(bundle.encoder_path("int8")).graph.initializer
    matrices = [weight for weight in weights if weight.data_type == onnx.TensorProto.INT8 and len(weight.dims) > 1]
    assert len(matrices) == 1 + 6 * 4  # the patch embedding, and every linear layer of six blocks


def test_what_does_not_fit_is_one_line_and_status_2(resnet, tmp_path, capsys):
    network, weights = resnet
    (tmp_path / "words.pth").write_text("no weights")
    torch.save({k: v for k, v in network.state_dict().items() if "layer4.1" not in k}, tmp_path / "part.pth")
    out = ("--out", tmp_path / "model")
    for arguments, message in (
        (("--torch", "torchvision:resnet18"), "needs --weights FILE"),
        (("--torch", "torchvision:resnet19", "--weights", weights), "torchvision:resnet19 is no network"),
        (("--torch", "resnet18", "--weights", weights), "write torchvision:NAME or timm:NAME"),
        (("--torch", "torchvision:resnet34", "--weights", weights), "missing: layer1.2."),
        (("--torch", "torchvision:resnet18", "--weights", tmp_path / "part.pth"), "missing: layer4.1."),
        (("--torch", "torchvision:resnet18", "--weights", tmp_path / "words.pth"), "words.pth"),
        (("--torch", "torchvision:resnet18", "--weights", tmp_path / "nowhere.pth"), "there is no file"),
        (("--torch", "torchvision:resnet18", "--weights", weights, "--output", "x"), "--output belongs to --onnx"),
        (("--torch", "torchvision:resnet18", "--weights", weights, "--mean", "1,2"), "--mean '1,2'"),
    ):
        assert export(*arguments, *out) == 2, message
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "model").exists()
