"""Backbones: images to features. The residual networks of torchvision, and a ViT that can look at some patches only.

Shapes: x float32 [N, 3, S, S] -> features [N, D].
"""

from __future__ import annotations

from torch import nn

from training.config import BackboneConfig, ViTConfig
from training.model.backbones import resnet
from training.model.backbones.resnet import SmallMapConv2d, compile_resnets
from training.model.backbones.vit import ViT

__all__ = ["SmallMapConv2d", "ViT", "build", "compile_resnets"]


def build(config: BackboneConfig | ViTConfig, image_size: int) -> tuple[nn.Module, int]:
    """(network, D): the backbone named by `config` for images of `image_size` pixels a side.

    Its weights are fresh, from torch's generator. ValueError when a ViT's sizes do not fit together.
    """
    if isinstance(config, ViTConfig) or config.name == "vit":
        return ViT(config, image_size), config.width
    return resnet.build(config)
