"""SimCLR (Chen et al. 2020), standard and adaptive: every other view of the batch is a candidate.

Legend: B images, N = 2B views (first views, then second views), C heads, D dims of a head.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import Config
from training.model import AmclModel
from training.objectives.contrastive import contrastive_loss


class SimCLR(nn.Module):
    """`forward(views)`: loss and what the monitor looks at. With C = 1 and a constant τ it is SimCLR as published."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = AmclModel(config)
        self.options = config.loss
        self.beta, self.eta = config.temperature.beta, config.temperature.eta

    def forward(self, views_N3SS: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss (scalar) of N = 2B views, rows i and i + B of one image; and what `monitor.statistics` looks at."""
        features_ND, heads_NCD = self.model(views_N3SS)
        with torch.autocast(views_N3SS.device.type, enabled=False):  # logits and temperatures in float32
            z_CND = F.normalize(heads_NCD.to(torch.promote_types(heads_NCD.dtype, torch.float32)), dim=-1).transpose(
                0, 1
            )
            sim_CNN = z_CND @ z_CND.transpose(1, 2)
            tau = self.model.temperature.pairwise(z_CND, z_CND)
            n = z_CND.shape[1]
            positive_N = torch.arange(n, device=z_CND.device).roll(n // 2)
            loss = contrastive_loss(
                sim_CNN,
                tau,
                positive_N,
                torch.eye(n, dtype=torch.bool, device=z_CND.device),
                beta=self.beta,
                eta=self.eta,
                negatives=self.options.negatives,
                top_k=self.options.top_k,
                positive_in_denominator=self.options.positive_in_denominator,
            )
        seen = {"features": features_ND, "similarity": sim_CNN, "tau": tau, "positive": positive_N}
        return loss, {name: value.detach() for name, value in seen.items()}
