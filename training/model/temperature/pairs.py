"""Adaptive temperatures of pairs of images. Legend and formula: `training.model.temperature`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import HeadsConfig, PairTemperatureConfig
from training.machine import distributed
from training.model.temperature.bounds import between_bounds, level

_MOMENTUM = 0.9  # of the running mean, as a batch norm's


class AdaptiveTemperature(nn.Module):
    """τ as a function of head and pair of images; see the package's docstring.

    In training `embed_pairs`, `pairwise` and `forward` each centre by the mean of their pairs, averaged over processes,
    and take note of it once; where the other rows are gathered, that is the mean of the joint batch. To be called
    outside autocast.
    """

    gain: nn.Parameter
    bias: nn.Parameter
    centre: Tensor
    batches: Tensor
    phi: nn.Module

    def __init__(self, heads: HeadsConfig, config: PairTemperatureConfig) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high
        self.phi = nn.Sequential(
            nn.Linear(heads.dim, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, config.dim)
        )
        self.gain = nn.Parameter(torch.ones(heads.num))
        self.bias = nn.Parameter(torch.zeros(heads.num))
        self.level = level(config)
        self.register_buffer("centre", torch.zeros(heads.num))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def embed(self, z: Tensor) -> Tensor:
        """φ of unit-norm head outputs, of unit norm itself: [..., D] -> [..., E]."""
        return F.normalize(self.phi(z), dim=-1)

    def embed_pairs(
        self, z_CND: Tensor, z_CMD: Tensor, *, own_N: Tensor | None = None, excluded_NM: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows a [C, N, F] and b [C, M, F] with ⟨a_i, b_j⟩ = b_c − g_c (⟨φ_i, φ_j⟩ − m_c); F = E + 1.

        Gain, bias and mean enter here, where there are N + M rows, and not on N · M pairs. The mean is over candidates:
        neither over the anchor itself, in column `own_N`, nor where `excluded_NM` is True.
        """
        phi_CNE = self.embed(z_CND)
        phi_CME = phi_CNE if z_CMD is z_CND else self.embed(z_CMD)
        centre_C = self.centre
        if self.training:
            centre_C = self._centre(_mean_inner(phi_CNE, phi_CME, own_N, excluded_NM))
        offset_C11 = (self._levels() + self.gain * centre_C).view(-1, 1, 1)
        a_CNF = torch.cat([-self.gain.view(-1, 1, 1) * phi_CNE, offset_C11.expand(-1, phi_CNE.shape[1], 1)], dim=2)
        return a_CNF, F.pad(phi_CME, (0, 1), value=1.0)

    def between(self, a_CNF: Tensor, b_CMF: Tensor) -> Tensor:
        """τ [C, N, M] of all pairs of the rows that `embed_pairs` gave, or of some of them."""
        return self._bounded(a_CNF @ b_CMF.transpose(1, 2))

    def pairwise(self, z_CND: Tensor, z_CMD: Tensor) -> Tensor:
        """τ of all pairs: unit-norm [C, N, D] and [C, M, D] -> [C, N, M]."""
        return self.between(*self.embed_pairs(z_CND, z_CMD))

    def forward(self, z_NCD: Tensor, other_NCD: Tensor) -> Tensor:
        """τ [N, C] of the pairs of equal rows of two unit-norm [N, C, D]."""
        inner_NC = (self.embed(z_NCD) * self.embed(other_NCD)).sum(-1)
        centre_C = self._centre(inner_NC.mean(0)) if self.training else self.centre
        return self._bounded(self._levels() - self.gain * (inner_NC - centre_C))

    def _levels(self) -> Tensor:
        return self.level + self.bias - self.bias.mean()

    def _bounded(self, logit: Tensor) -> Tensor:
        return between_bounds(logit, self.low, self.high)

    def _centre(self, local_C: Tensor) -> Tensor:
        """The mean over processes, which the running mean takes note of."""
        mean_C = distributed.mean(local_C)
        with torch.no_grad():
            self.batches += 1
            # A weighted mean of what there was, from the first batch on: a share of 1 − momentum, without its bias.
            rate = (1 - _MOMENTUM) / (1 - _MOMENTUM ** self.batches.double())
            self.centre.lerp_(mean_C.detach(), rate.to(self.centre.dtype))
        return mean_C


def _mean_inner(phi_CNE: Tensor, phi_CME: Tensor, own_N: Tensor | None, excluded_NM: Tensor | None) -> Tensor:
    """The mean [C] of ⟨φ_i, φ_j⟩ over all pairs but an anchor's own and the excluded."""
    rows, columns = phi_CNE.shape[1], phi_CME.shape[1]
    if excluded_NM is None:  # from sums over rows, in no more memory than they take
        total_C = (phi_CNE.sum(1) * phi_CME.sum(1)).sum(-1)
        if own_N is None:
            return total_C / (rows * columns)
        return (total_C - (phi_CNE * phi_CME[:, own_N]).sum((1, 2))) / (rows * (columns - 1))
    kept_NM = ~excluded_NM
    if own_N is not None:
        kept_NM = kept_NM & (torch.arange(columns, device=own_N.device) != own_N[:, None])
    weight_NM = kept_NM.to(phi_CNE.dtype)
    return (phi_CNE * (weight_NM @ phi_CME)).sum((1, 2)) / weight_NM.sum()
