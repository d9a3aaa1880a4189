"""Networks of torchvision and timm by name: features instead of logits, random weights, no downloads."""

from __future__ import annotations

import builtins
import socket
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from training.model.backbones.named import named

TORCHVISION = {
    "resnet18": 512,
    "mobilenet_v3_small": 1024,
    "efficientnet_b0": 1280,
    "squeezenet1_1": 512,
    "regnet_y_400mf": 440,
    "shufflenet_v2_x0_5": 1024,
}
SLOW = {
    "alexnet": 4096,
    "vgg11": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "googlenet": 1024,
    "inception_v3": 2048,
    "mnasnet0_5": 1280,
    "swin_t": 768,
    "swin_v2_t": 768,
    "vit_b_32": 768,
    "maxvit_t": 512,
}
CASES = [(f"torchvision:{name}", dim) for name, dim in TORCHVISION.items()]
CASES += [("timm:resnet10t", 512), ("timm:vit_tiny_patch16_224", 192), ("timm:mobilenetv3_small_050", 1024)]
SIZES = {"torchvision:maxvit_t": 224, "torchvision:inception_v3": 128}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a network was reached for")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("name", "dim"),
    [*CASES, *(pytest.param(f"torchvision:{name}", dim, marks=pytest.mark.slow) for name, dim in SLOW.items())],
)
def test_features_are_what_the_classifier_was_given(name: str, dim: int) -> None:
    size = SIZES.get(name, 64)
    torch.manual_seed(0)
    found = named(name, size)
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    features = found.network.train()(x)
    again = found.network(x)
    assert found.feature_dim == dim
    assert features.shape == (2, dim)
    assert torch.equal(features, again)  # nothing is drawn: no dropout, no stochastic depth
    assert not any(name.startswith(f"{layer}.") for layer in found.classifier for name in found.network.state_dict())


def test_torchvisions_names_and_outputs_are_kept() -> None:
    found = named("torchvision:mobilenet_v3_small", 64)
    whole = models.mobilenet_v3_small().eval()
    answer = whole.load_state_dict(found.network.state_dict(), strict=False)
    assert answer.missing_keys == ["classifier.3.weight", "classifier.3.bias"]
    assert answer.unexpected_keys == []
    assert found.classifier == ("classifier.3",)
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(whole.classifier[3](found.network.eval()(x)), whole(x))


def test_a_seed_gives_the_same_weights() -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(3)
        return list(named("torchvision:resnet18", 32).network.state_dict().values())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


def test_preprocessing_is_that_of_the_published_weights() -> None:
    p = named("torchvision:resnet18", 64).preprocessing
    assert p is not None
    assert (p.mean, p.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (p.size, p.interpolation, p.crop) == (224, "bilinear", 0.875)
    p = named("timm:vit_tiny_patch16_224", 32).preprocessing
    assert p is not None
    assert (p.mean, p.interpolation, p.crop) == ((0.5, 0.5, 0.5), "bicubic", 0.9)


def test_a_network_is_built_for_its_own_size_or_another() -> None:
    assert named("timm:vit_tiny_patch16_224").fixed_size
    vit = named("timm:vit_tiny_patch16_224", 32)
    assert vit.network(torch.zeros(1, 3, 32, 32)).shape == (1, 192)
    assert not named("timm:resnet10t", 32).fixed_size


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet18", "write torchvision:NAME or timm:NAME"),
        ("keras:resnet18", "write torchvision:NAME or timm:NAME"),
        ("timm:", "write torchvision:NAME or timm:NAME"),
        ("torchvision:resnet19", "did you mean resnet1"),
        ("torchvision:fcos_resnet50_fpn", "no network of the torchvision"),
        ("timm:resnet19", "did you mean resnet1"),
        ("timm:resnet18.nowhere_in1k", "timm:resnet18.nowhere_in1k"),
        ("timm:hf-hub:someone/model", "no network of the timm"),
        ("timm:/tmp/model", "no network of the timm"),
        ("torchvision:vit_b_16", "for images of 50 pixels a side"),
        ("timm:vit_tiny_patch16_224", "for images of 50 pixels a side"),
    ],
)
def test_what_cannot_be_used_says_why(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        named(name, 50)


def test_a_network_without_one_vector_for_an_image_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"timm:resnet10t gives \[2, 4, 30, 30\] for two images"):
        named("timm:resnet10t", 32)


def test_without_timm_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name == "timm":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'amcl-serve\[timm\]'"):
        named("timm:resnet18", 32)
