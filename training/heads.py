"""Projection heads: C MLPs of the same architecture and separate weights on one backbone (AMCL, Sec. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import HeadsConfig


def projector(in_dim: int, hidden: int, out_dim: int) -> nn.Sequential:
    """SimCLR's two-layer projector with batch norm on the hidden layer: [N, D] -> [N, d']."""
    return nn.Sequential(
        nn.Linear(in_dim, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out_dim),
    )


class Heads(nn.Module):
    """C projectors side by side: features [N, D] -> [N, C, d']."""

    def __init__(self, in_dim: int, config: HeadsConfig) -> None:
        super().__init__()
        self.projectors = nn.ModuleList(projector(in_dim, config.hidden, config.dim) for _ in range(config.num))

    def forward(self, features: Tensor) -> Tensor:
        """Unnormalised outputs of every head, stacked: [N, C, d']."""
        return torch.stack([head(features) for head in self.projectors], dim=1)
