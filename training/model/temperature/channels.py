"""Adaptive temperatures of pairs of channels. Legend and formula: `training.model.temperature`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.config import HeadsConfig, TemperatureConfig
from training.machine.precision import full_precision
from training.model.temperature.bounds import between_bounds, level

_HIDDEN = 8  # width of φ on a scalar: at d' = 2048 and C = 3 it is evaluated 12.6 million times a step


class ChannelTemperature(nn.Module):
    """τ of pairs of feature channels as a function of their correlation (Barlow Twins); see the package's docstring.

    φ is a small MLP from a number to a number whose last layer starts at zero, so that every τ starts at the standard
    value. Evaluated in chunks that backward recomputes: memory beside the result does not grow with d'.
    """

    chunk_elements = 2**20  # pairs of channels evaluated at once

    def __init__(self, heads: HeadsConfig, config: TemperatureConfig) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high
        self.phi = nn.Sequential(nn.Linear(1, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, 1, bias=False))
        nn.init.zeros_(self.phi[2].weight)  # type: ignore[arg-type]
        self.gain = nn.Parameter(torch.ones(heads.num))
        self.bias = nn.Parameter(torch.full((heads.num,), level(config)))

    def forward(self, corr_CDD: Tensor) -> Tensor:
        """τ [C, D, D] of correlations [C, D, D], float32 or float64."""
        with full_precision(corr_CDD.device):
            rows = max(1, self.chunk_elements // corr_CDD[:, 0].numel())
            if rows >= corr_CDD.shape[1]:
                return self._of(corr_CDD)
            parts = [
                checkpoint(self._of, part, use_reentrant=False, preserve_rng_state=False)
                for part in torch.split(corr_CDD, rows, dim=1)
            ]
            return torch.cat(parts, dim=1)

    def _of(self, corr_CLD: Tensor) -> Tensor:
        inner_CLD = self.phi(corr_CLD.unsqueeze(-1)).squeeze(-1)
        logit_CLD = self.bias.view(-1, 1, 1) - self.gain.view(-1, 1, 1) * inner_CLD
        return between_bounds(logit_CLD, self.low, self.high)
