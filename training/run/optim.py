"""What moves the weights: the optimiser, its parameter groups, and the learning rate as a pure function of progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from training.config import TrainConfig
from training.run.lars import LARS


def learning_rate(train: TrainConfig, step: int, total: int, per_epoch: int) -> float:
    """Rate of `step`, from 0, of a stage of `total` steps: linear warm-up, then a cosine to zero.

    The peak is lr · batch_size / 128; `per_epoch` steps make an epoch, the unit of the warm-up.
    """
    peak = train.lr * train.batch_size / 128
    warmup = train.warmup_epochs * per_epoch
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def build(method: nn.Module, rate: Callable[[str], float], train: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of `method`'s parameters that ask for gradients and whose `rate(name)` is not 0.

    Each group has `params`, `weight_decay` and `rate`: the loop sets its `lr` to the schedule's times that. Vectors and
    scalars (biases, norms, mask tokens) and temperatures do not decay, nor does LARS adapt their step. ValueError when
    no parameter is left.
    """
    groups = _groups(method, rate, train.weight_decay)
    if not groups:
        raise ValueError("no parameter is to be trained")
    if train.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, fused=True)
    if train.optimiser == "lars":
        return LARS(groups, lr=train.lr, momentum=train.momentum)
    return torch.optim.AdamW(
        groups, lr=train.lr, betas=(train.momentum, 0.95), fused=True
    )  # second beta as MAE's, Table 8


def _groups(method: nn.Module, rate: Callable[[str], float], weight_decay: float) -> list[dict[str, Any]]:
    """One group for each pair of (decays or not, rate), in order of first appearance."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        multiple = rate(name)
        if parameter.requires_grad and multiple:
            decays = parameter.dim() >= 2 and "temperature" not in name
            groups.setdefault((decays, multiple), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "adapt": decays, "rate": multiple}
        for (decays, multiple), parameters in groups.items()
    ]
