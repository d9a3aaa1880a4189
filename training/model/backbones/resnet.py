"""Torchvision's residual networks without the classifier, of any width, with stems for small images.

Shapes: x float32 [N, 3, S, S] -> features [N, D].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18, resnet34, resnet50
from torchvision.models.resnet import Bottleneck

from training.config import BackboneConfig

_NETWORKS: Mapping[str, Callable[[], ResNet]] = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


class SmallMapConv2d(nn.Conv2d):
    """A 3×3 convolution that, on CPU, treats maps of at most 2×2 outputs as one matrix product.

    Same weights, same result. oneDNN's bf16 gradients of such layers (512 channels, 2×2) take four times as long as the
    matrix products they amount to, and they were 40 % of ResNet-18's step at 64 px.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[N, I, H, W] -> [N, O, H', W']."""
        stride = self.stride[0]
        height, width = ((side - 1) // stride + 1 for side in input.shape[-2:])
        if input.device.type != "cpu" or not self.training or height * width > 4:
            return super().forward(input)
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        taps = [
            padded[:, i : i + stride * height : stride, j : j + stride * width : stride]
            for i in range(3)
            for j in range(3)
        ]
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        return F.linear(torch.cat(taps, dim=-1), weight).permute(0, 3, 1, 2)


def build(config: BackboneConfig) -> tuple[ResNet, int]:
    """(network, D): the ResNet named by `config`, freshly initialised; D = 8 · width, with bottlenecks 32 · width."""
    network = _NETWORKS[config.name]()
    if config.width != 64:
        _set_width(network, config.width)
    network.fc = nn.Identity()
    if config.stem != "imagenet":
        stride = 1 if config.stem == "cifar" else 2
        network.conv1 = nn.Conv2d(3, config.width, 3, stride=stride, padding=1, bias=False)
        network.maxpool = nn.Identity()
    for module in network.layer4.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.__class__ = SmallMapConv2d
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    last = network.layer4[-1]
    return network, 8 * config.width * (Bottleneck.expansion if isinstance(last, Bottleneck) else 1)


def _set_width(network: nn.Module, width: int) -> None:
    """Rebuild every layer of a ResNet at `width` instead of 64 first-stage channels."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d):
            inner = child.in_channels if child.in_channels == 3 else child.in_channels * width // 64
            conv = nn.Conv2d(
                inner,
                child.out_channels * width // 64,
                child.kernel_size,  # type: ignore[arg-type]
                child.stride,  # type: ignore[arg-type]
                child.padding,  # type: ignore[arg-type]
                bias=False,
            )
            setattr(network, name, conv)
        elif isinstance(child, nn.BatchNorm2d):
            setattr(network, name, nn.BatchNorm2d(child.num_features * width // 64))
        else:
            _set_width(child, width)
