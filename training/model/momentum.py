"""The momentum encoder: an exponential moving average (EMA) of a network, its schedule, and the keys it gives."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from training.config import MomentumConfig
from training.machine.precision import full_precision
from training.model.heads import by_head
from training.model.model import AmclModel


def momentum_at(progress: float, start: float, end: float) -> float:
    """Momentum at `progress` of the schedule, 0 to 1: a half cosine from `start` to `end` (BYOL, Sec. 3.3)."""
    return end - (end - start) * (1 + math.cos(math.pi * progress)) / 2


@torch.no_grad()
def update_(target: nn.Module, source: nn.Module, momentum: float) -> None:
    """target ← momentum · target + (1 − momentum) · source, in place, for parameters; buffers are copied."""
    into: list[Tensor] = list(target.parameters())
    of: list[Tensor] = list(source.parameters())
    assert [p.shape for p in into] == [p.shape for p in of]
    if into:
        torch._foreach_lerp_(into, of, 1 - momentum)
    for kept, fresh in zip(target.buffers(), source.buffers(), strict=True):
        kept.copy_(fresh)


class MomentumEncoder(nn.Module):
    """A moving average of a model's backbone and projectors, which gives keys and gets no gradient (He et al. 2020)."""

    def __init__(self, model: AmclModel, config: MomentumConfig) -> None:
        super().__init__()
        self.start, self.end = config.start, config.end
        self.backbone = copy.deepcopy(model.backbone).requires_grad_(False)
        self.projectors = copy.deepcopy(model.heads.projectors).requires_grad_(False)

    def follow(self, model: AmclModel, progress: float) -> None:
        """Move towards `model` by the momentum that is due at `progress`."""
        momentum = momentum_at(progress, self.start, self.end)
        update_(self.backbone, model.backbone, momentum)
        update_(self.projectors, model.heads.projectors, momentum)

    def copy(self, model: AmclModel) -> None:
        """Become `model`'s equal."""
        self.backbone.load_state_dict(model.backbone.state_dict())
        self.projectors.load_state_dict(model.heads.projectors.state_dict())

    @torch.no_grad()
    def forward(self, view_B3SS: Tensor) -> Tensor:
        """Unit-norm keys [C, B, d'] of one view."""
        features_BD = self.backbone(view_B3SS)
        keys_BCD = torch.stack([projector(features_BD) for projector in self.projectors], dim=1)
        with full_precision(view_B3SS.device):
            return by_head(keys_BCD)
