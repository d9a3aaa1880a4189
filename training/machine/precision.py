"""Which numbers a computation is done in."""

from __future__ import annotations

import torch

from training.config import TrainConfig


def mixed_precision(device: torch.device, train: TrainConfig) -> torch.autocast:
    """Inside, networks compute in bfloat16 where `train.precision` says so; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16")


def full_precision(device: torch.device) -> torch.autocast:
    """Inside, nothing is cast down: similarities, temperatures and losses are float32 under mixed precision."""
    return torch.autocast(device.type, enabled=False)
