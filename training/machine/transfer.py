"""How small tensors reach the device."""

from __future__ import annotations

import torch
from torch import Tensor


def put(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, without waiting for what the device is doing: for that its memory must be pinned."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
