"""From pixels to what a network takes."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import DataConfig
from training.machine.transfer import put


def normalise(x_N3SS: Tensor, config: DataConfig) -> Tensor:
    """Pixels in [0, 1] -> the network's input: less the mean, over the deviation, channels-last."""
    mean, std = (put(torch.tensor(v).view(1, 3, 1, 1), x_N3SS.device) for v in (config.mean, config.std))
    return ((x_N3SS - mean) / std).contiguous(memory_format=torch.channels_last)
