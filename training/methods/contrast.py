"""The contrastive loss as a method calls it: with its keys filled in, and of all views of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from training.config import ContrastConfig, TemperatureConfig
from training.machine import distributed
from training.methods.base import Seen
from training.model.heads import by_head
from training.model.temperature import Temperature
from training.objectives.contrastive import contrast

Contrast = Callable[..., Tensor]


def contrast_of(temperature: TemperatureConfig, loss: ContrastConfig) -> Contrast:
    """`objectives.contrastive.contrast` with the options that the config names."""
    return partial(
        contrast,
        beta=temperature.beta,
        eta=temperature.eta,
        negatives=loss.negatives,
        top_k=loss.top_k,
        positive_in_denominator=loss.positive_in_denominator,
        heads=loss.heads,
    )


def contrast_views(
    contrast: Contrast, temperature: Temperature, features_ND: Tensor, heads_NCD: Tensor
) -> tuple[Tensor, Seen]:
    """NT-Xent of N = 2B local views against all processes' views (SimCLR, CAN)."""
    z_CND = by_head(heads_NCD)
    candidates_CMD = z_CND
    if distributed.world_size() > 1:
        candidates_CMD = distributed.gather(z_CND.transpose(0, 1)).transpose(0, 1)
    rows = torch.arange(z_CND.shape[1], device=z_CND.device)
    own = distributed.rank() * len(rows) + rows
    positive = distributed.rank() * len(rows) + rows.roll(len(rows) // 2)
    loss = contrast(z_CND, candidates_CMD, positive, temperature, own_N=own)
    return loss, Seen(features_ND.detach(), z_CND.detach(), candidates_CMD.detach(), positive, own)
