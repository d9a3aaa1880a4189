"""What moves the weights: parameter groups and the learning rate as a pure function of progress."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from training.config import TrainConfig


def learning_rate(train: TrainConfig, step: int, per_epoch: int) -> float:
    """Rate of `step`, from 0: linear warm-up, then a cosine to zero; the peak is lr · batch_size / 128."""
    peak = train.lr * train.batch_size / 128
    warmup, total = train.warmup_epochs * per_epoch, train.epochs * per_epoch
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def parameter_groups(method: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights that decay, and those that do not: biases, norms, and everything of the temperature."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in method.named_parameters():
        (free if parameter.dim() < 2 or ".temperature." in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
