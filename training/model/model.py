"""The network of a run: backbone, heads and temperature, which export and evaluation use as one module."""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from training.config import Config
from training.model import backbones, temperature
from training.model.backbones.kept_norms import keep_norms
from training.model.heads import Heads
from training.model.parts import in_parts


class AmclModel(nn.Module):
    """f, its C projection heads and the temperature of their pairs.

    `forward`: x float32 [N, 3, S, S], normalised -> features [N, D], heads [N, C, d'] (neither of unit norm).
    `model.temperature(a, b)`: unit-norm heads [N, C, d'] of paired rows -> τ [N, C].
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.backbone, self.feature_dim = backbones.build(config.backbone, config.data.image_size)
        if config.backbone.named and config.data.early_size:
            backbones.check_size(self.backbone, config.data.early_size, f"data.early_size: {config.backbone.name}")
        if config.train.keep_norms:
            keep_norms(self.backbone)
        self.heads = Heads(self.feature_dim, config.heads)
        self.temperature = temperature.build(config.heads, config.temperature)
        self.parts = config.train.accumulate
        self.num_heads, self.head_dim = config.heads.num, config.heads.dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, D] and heads [N, C, d'] of x [N, 3, S, S]."""
        features = self.features(x)
        return features, self.heads(features)

    def features(self, x: Tensor) -> Tensor:
        """Features [N, D] of x [N, 3, S, S], in the parts of `train.accumulate` where a gradient is asked for."""
        return in_parts(self.backbone, self.backbone, self.parts, x)


def untrained(config: Config) -> AmclModel:
    """The network of the config before training: weights of seed 0, batch norms at their initial statistics.

    Random numbers that others draw stay what they were.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AmclModel(config).eval()
