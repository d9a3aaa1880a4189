"""Temperatures of pairs (AMCL, Sec. 3): one constant, or a function of the head and of the pair.

    τ_ij^c = lo + (hi − lo) · σ(b_c − g_c (⟨φ(z_i^c), φ(z_j^c)⟩ − m_c))

φ is one MLP shared by all heads, its output of unit norm; g_c a learned gain, b_c a learned bias that starts τ at the
method's standard temperature, m_c the running mean of the inner product (a constant at inference), which keeps that
start whatever φ's initial weights are. Like pairs get a small τ: they may be certain. The minus sign, the gain, the
bounds and the centring are ours; the paper says MLP and sigmoid.

Legend: C heads, N and M rows, D dims of a head (d'), E dims of φ's output.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import HeadsConfig, TemperatureConfig


class ConstantTemperature(nn.Module):
    """The same τ for every head and pair."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def pairwise(self, z_CND: Tensor, z_CMD: Tensor) -> Tensor:  # noqa: ARG002
        """τ of all pairs as a 0-d tensor, which broadcasts over [C, N, M]."""
        return torch.full((), self.value, device=z_CND.device)

    def forward(self, z_NCD: Tensor, other_NCD: Tensor) -> Tensor:  # noqa: ARG002
        """τ [N, C] of the pairs of equal rows."""
        return torch.full(z_NCD.shape[:2], self.value, device=z_NCD.device)


class AdaptiveTemperature(nn.Module):
    """τ as a function of head and pair; see the module's docstring."""

    gain: nn.Parameter
    bias: nn.Parameter
    centre: Tensor
    batches: Tensor

    def __init__(self, heads: HeadsConfig, config: TemperatureConfig) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high
        self.phi = nn.Sequential(
            nn.Linear(heads.dim, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, config.dim)
        )
        start = (config.value - config.low) / (config.high - config.low)
        self.gain = nn.Parameter(torch.ones(heads.num))
        self.bias = nn.Parameter(torch.full((heads.num,), math.log(start / (1 - start))))
        self.register_buffer("centre", torch.zeros(heads.num))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def embed(self, z: Tensor) -> Tensor:
        """φ of unit-norm head outputs, of unit norm itself: [..., D] -> [..., E]."""
        return F.normalize(self.phi(z), dim=-1)

    def of_inner_product(self, inner: Tensor, head_dim: int) -> Tensor:
        """τ of φ's inner products; `head_dim` is the axis that counts heads."""
        shape = [1] * inner.dim()
        shape[head_dim] = -1
        gain, bias, centre = (v.view(shape) for v in (self.gain, self.bias, self.centre))
        return self.low + (self.high - self.low) * torch.sigmoid(bias - gain * (inner - centre))

    def pairwise(self, z_CND: Tensor, z_CMD: Tensor) -> Tensor:
        """τ of all pairs: unit-norm [C, N, D] and [C, M, D] -> [C, N, M]; in training the running mean takes note."""
        phi_CNE = self.embed(z_CND)
        phi_CME = phi_CNE if z_CMD is z_CND else self.embed(z_CMD)
        inner_CNM = phi_CNE @ phi_CME.transpose(1, 2)
        if self.training:
            self._track(inner_CNM.detach())
        return self.of_inner_product(inner_CNM, head_dim=0)

    def forward(self, z_NCD: Tensor, other_NCD: Tensor) -> Tensor:
        """τ [N, C] of the pairs of equal rows of two unit-norm [N, C, D]."""
        inner_NC = (self.embed(z_NCD) * self.embed(other_NCD)).sum(-1)
        return self.of_inner_product(inner_NC, head_dim=1)

    @torch.no_grad()
    def _track(self, inner_CNM: Tensor) -> None:
        mean_C = inner_CNM.mean(dim=(1, 2))
        rate = torch.where(self.batches == 0, 1.0, 0.01)  # the first batch sets it, so that τ starts where it should
        self.centre.lerp_(mean_C, rate)
        self.batches += 1


Temperature = ConstantTemperature | AdaptiveTemperature


def build(heads: HeadsConfig, config: TemperatureConfig) -> Temperature:
    """The temperature that `config` names."""
    return ConstantTemperature(config.value) if config.kind == "constant" else AdaptiveTemperature(heads, config)
