from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import ResNet, resnet18, resnet34, resnet50

from training.config import BackboneConfig
from training.model import backbones
from training.model.backbones import SmallMapConv2d


@pytest.mark.parametrize(("stem", "side"), [("cifar", 64), ("small", 32), ("imagenet", 16)])
def test_stems_reduce_as_they_say(stem: str, side: int) -> None:
    network, dim = backbones.build(BackboneConfig(stem=stem, width=8), 64)  # type: ignore[arg-type]
    seen = []
    network.layer1.register_forward_hook(lambda *args: seen.append(args[1][0].shape[-1]))  # type: ignore[union-attr]
    features = network(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, dim) == (2, 64)
    assert seen == [side]


@pytest.mark.parametrize("reference", [resnet18, resnet34, resnet50])
def test_width_64_and_the_imagenet_stem_is_torchvisions(reference: Callable[[], ResNet]) -> None:
    config = BackboneConfig(name=reference.__name__, stem="imagenet")  # type: ignore[arg-type]
    network, dim = backbones.build(config, 64)
    other = reference()
    assert dim == other.fc.in_features
    other.fc = nn.Identity()  # type: ignore[assignment]
    other.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.eval()(x), other.eval()(x))


@pytest.mark.parametrize(("name", "expansion"), [("resnet18", 1), ("resnet34", 1), ("resnet50", 4)])
def test_a_narrow_network_keeps_the_proportions(name: str, expansion: int) -> None:
    network, dim = backbones.build(BackboneConfig(name=name, width=4), 32)  # type: ignore[arg-type]
    assert dim == 32 * expansion
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, dim)
    wide = backbones.build(BackboneConfig(name=name, width=8), 32)[0]  # type: ignore[arg-type]
    for (key, thin), thick in zip(network.named_parameters(), wide.parameters(), strict=True):
        inner = 1 if key == "conv1.weight" or thin.dim() == 1 else 2
        assert thick.numel() == 2 * inner * thin.numel(), key
    small = [module for module in network.modules() if isinstance(module, SmallMapConv2d)]
    assert {module.kernel_size for module in small} == {(3, 3)}
    assert len(small) == {"resnet18": 4, "resnet34": 6, "resnet50": 3}[name]


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_small_maps_give_the_same_convolution(side: int, stride: int) -> None:
    torch.manual_seed(0)
    ours = SmallMapConv2d(4, 6, 3, stride=stride, padding=1, bias=False).double()
    plain = nn.Conv2d(4, 6, 3, stride=stride, padding=1, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, side, side, dtype=torch.float64)
    results = []
    for layer in (ours, plain):
        entry = x.clone().requires_grad_()
        out = layer(entry)
        out.square().sum().backward()
        results.append((out, entry.grad, layer.weight.grad))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_a_seed_gives_the_same_weights() -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(3)
        return list(backbones.build(replace(BackboneConfig(), width=8), 64)[0].state_dict().values())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))
