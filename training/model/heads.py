"""Heads: C MLPs of the same architecture and separate weights on one backbone (AMCL, Sec. 3).

A head is a projector (SimCLR, MoCo, Barlow Twins, CAN), a projector with its predictor (LGP), or a predictor on a
projector that all heads share (SimSiam). Legend: N rows, C heads, D dims of a feature, d' of a head's output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import HeadsConfig


def mlp(in_dim: int, hidden: int, out_dim: int, *, layers: int, last_norm: bool) -> nn.Sequential:
    """Linear layers [N, in_dim] -> [N, out_dim], batch norm and ReLU after all but the last.

    `last_norm` puts one without affine parameters there too (Chen & He 2021, SimSiam; Chen et al. 2021, MoCo v3).
    """
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(in_dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
        in_dim = hidden
    parts.append(nn.Linear(in_dim, out_dim, bias=not last_norm))
    if last_norm:
        parts.append(nn.BatchNorm1d(out_dim, affine=False))
    return nn.Sequential(*parts)


class Heads(nn.Module):
    """Features [N, D] -> unnormalised outputs of every head [N, C, d']."""

    def __init__(self, in_dim: int, config: HeadsConfig) -> None:
        super().__init__()
        self.num = config.num
        self.projectors = nn.ModuleList(
            mlp(in_dim, config.hidden, config.dim, layers=config.layers, last_norm=config.last_norm)
            for _ in range(1 if config.shared_projector else config.num)
        )
        self.predictors = nn.ModuleList(
            mlp(config.dim, config.predictor_hidden, config.dim, layers=2, last_norm=False)
            for _ in range(config.num if config.predictor_hidden else 0)
        )

    def project(self, features_ND: Tensor) -> Tensor:
        """Outputs of the projectors [N, C, d'], or [N, 1, d'] of the one that is shared: the targets of predictors."""
        return torch.stack([projector(features_ND) for projector in self.projectors], dim=1)

    def predict(self, projected_NCD: Tensor) -> Tensor:
        """Outputs of the heads [N, C, d'] from those of the projectors."""
        if not self.predictors:
            return projected_NCD
        inputs = projected_NCD.expand(-1, self.num, -1).unbind(1)
        return torch.stack([predictor(h) for predictor, h in zip(self.predictors, inputs, strict=True)], dim=1)

    def forward(self, features_ND: Tensor) -> Tensor:
        """Outputs of the heads [N, C, d']."""
        return self.predict(self.project(features_ND))


def by_head(heads_NCD: Tensor) -> Tensor:
    """Head outputs of unit norm, at least float32, head first: [N, C, d'] -> [C, N, d']."""
    wide = heads_NCD.to(torch.promote_types(heads_NCD.dtype, torch.float32))
    return F.normalize(wide, dim=-1).transpose(0, 1)
