"""Backbones: images to features. Residual networks, a ViT that can look at some patches only, and those of libraries.

Shapes: x float32 [N, 3, S, S] -> features [N, D].
"""

from __future__ import annotations

from torch import nn

from training.config import BackboneConfig, ViTConfig
from training.model.backbones import resnet
from training.model.backbones.named import check_size, named
from training.model.backbones.resnet import SmallMapConv2d
from training.model.backbones.vit import ViT

__all__ = ["SmallMapConv2d", "ViT", "build", "check_size"]


def build(config: BackboneConfig | ViTConfig, image_size: int) -> tuple[nn.Module, int]:
    """(network, D): the backbone named by `config` for images of `image_size` pixels a side.

    Its weights are fresh, from torch's generator. ValueError when a ViT's sizes do not fit together, or no library has
    a network of that name for such images.
    """
    if config.named:
        found = named(config.name, image_size)
        return found.network, found.feature_dim
    if isinstance(config, ViTConfig) or config.name == "vit":
        return ViT(config, image_size), config.width
    assert isinstance(config, BackboneConfig)
    return resnet.build(config)
