"""The bounds of adaptive temperatures, and the logit at which one starts between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.config import TemperatureConfig


def between_bounds(logit: Tensor, low: float, high: float) -> Tensor:
    """lo + (hi − lo) · σ(logit), elementwise."""
    return (torch.sigmoid(logit) * (high - low)).add_(low)


def level(config: TemperatureConfig) -> float:
    """The logit whose temperature is `config.value`."""
    start = (config.value - config.low) / (config.high - config.low)
    return math.log(start / (1 - start))
