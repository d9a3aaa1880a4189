from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from training import backbones
from training.backbones import SmallMapConv2d
from training.config import BackboneConfig


@pytest.mark.parametrize(("stem", "side"), [("cifar", 64), ("small", 32), ("imagenet", 16)])
def test_stems_reduce_as_they_say(stem: str, side: int) -> None:
    network, dim = backbones.build(BackboneConfig(stem=stem, width=8), 64)  # type: ignore[arg-type]
    seen = []
    network.layer1.register_forward_hook(lambda *args: seen.append(args[1][0].shape[-1]))  # type: ignore[union-attr]
    features = network(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, dim) == (2, 64)
    assert seen == [side]


def test_width_64_and_the_imagenet_stem_is_torchvisions_resnet18() -> None:
    network, dim = backbones.build(BackboneConfig(stem="imagenet"), 64)
    reference = resnet18()
    reference.fc = nn.Identity()
    reference.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert dim == 512
    torch.testing.assert_close(network.eval()(x), reference.eval()(x))


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
