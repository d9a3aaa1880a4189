"""The momentum encoder: an exponential moving average of another network, and its schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


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
