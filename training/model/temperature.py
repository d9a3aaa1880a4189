"""Temperatures of pairs (AMCL, Sec. 3): one constant, or a function of the head and of the pair.

    τ_ij^c = lo + (hi − lo) · σ(b_c − g_c (⟨φ(z_i^c), φ(z_j^c)⟩ − m_c))          of pairs: AdaptiveTemperature
    τ_ij^c = (τ_i^c + τ_j^c)/2,  τ_i^c = lo + (hi − lo) · σ(b_c + g_c ψ(z_i^c) − m_c)   of views: ViewTemperature
    τ_ij^c = lo + (hi − lo) · σ(b − (s_ij^c − m_c))                        of a similarity: SimilarityTemperature
    τ_lm^c = lo + (hi − lo) · σ(b_c − g_c φ(C_lm^c))                             of channels: ChannelTemperature

φ is one MLP shared by all heads, for images its output of unit norm; g_c a learned gain. Like pairs get a small τ:
they may be certain. For images m_c is a mean, of the inner product over anchors and their candidates or of g_c ψ over
both views: of the batch in training (with its gradient) and a running one at inference, as in a batch norm; and b_c =
b + δ_c − mean δ, with b from the method's standard temperature and δ_c learned: heads and pairs share out a level that
stays. A common level is no uncertainty, and a contrastive loss only ever lowers it: a positive that is more alike than
the candidates' mean, as nearly all are, gains by any smaller τ, so a learned level runs to the lower bound (CLIP's
needs a clamp), and with a mean that has no gradient φ maps everything to one point to the same end. The minus sign, the
gain, the bounds, the mean and the level are ours; the paper says MLP and sigmoid. Views with a τ of their own are TaU's
idea (Zhang et al. 2021), their sum that of variances. For pairs of channels Ω keeps the level, and b_c is learned.

Legend: C heads, N and M rows, D dims of a head (d'), E dims of φ's output, F = E + 1 (2 for views).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.config import HeadsConfig, TemperatureConfig
from training.machine import distributed
from training.machine.precision import full_precision

_MOMENTUM = 0.9  # of the running mean, as a batch norm's
_CHANNEL_HIDDEN = 8  # width of φ on a scalar: at d' = 2048 and C = 3 it is evaluated 12.6 million times a step
_CHANNEL_CHUNK = 2**20  # pairs of channels evaluated at once


class ConstantTemperature(nn.Module):
    """The same τ for every head and pair."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def embed_pairs(
        self,
        z_CND: Tensor,
        z_CMD: Tensor,
        *,
        own_N: Tensor | None = None,  # noqa: ARG002
        excluded_NM: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """What `between` takes: nothing that depends on the rows, so the rows as they are."""
        return z_CND, z_CMD

    def between(self, a_CNF: Tensor, b_CMF: Tensor) -> Tensor:  # noqa: ARG002
        """τ of all pairs as a 0-d tensor, which broadcasts over [C, N, M]."""
        return torch.full((), self.value, dtype=a_CNF.dtype, device=a_CNF.device)

    def pairwise(self, z_CND: Tensor, z_CMD: Tensor) -> Tensor:
        """τ of all pairs as a 0-d tensor."""
        return self.between(z_CND, z_CMD)

    def forward(self, z_NCD: Tensor, other_NCD: Tensor) -> Tensor:  # noqa: ARG002
        """τ [N, C] of the pairs of equal rows."""
        return torch.full(z_NCD.shape[:2], self.value, dtype=z_NCD.dtype, device=z_NCD.device)


class AdaptiveTemperature(nn.Module):
    """τ as a function of head and pair of images; see the module's docstring.

    In training `embed_pairs`, `pairwise` and `forward` each centre by the mean of their pairs, averaged over processes,
    and take note of it once; where the other rows are gathered, that is the mean of the joint batch. To be called
    outside autocast.
    """

    gain: nn.Parameter
    bias: nn.Parameter
    centre: Tensor
    batches: Tensor
    phi: nn.Module

    def __init__(self, heads: HeadsConfig, config: TemperatureConfig) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high
        self.phi = nn.Sequential(
            nn.Linear(heads.dim, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, config.dim)
        )
        self.gain = nn.Parameter(torch.ones(heads.num))
        self.bias = nn.Parameter(torch.zeros(heads.num))
        self.level = _logit(config)
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
        return (torch.sigmoid(logit) * (self.high - self.low)).add_(self.low)

    def _centre(self, local_C: Tensor) -> Tensor:
        """The mean over processes, which the running mean takes note of."""
        mean_C = distributed.mean(local_C)
        with torch.no_grad():
            self.batches += 1
            # A weighted mean of what there was, from the first batch on: a share of 1 − momentum, without its bias.
            rate = (1 - _MOMENTUM) / (1 - _MOMENTUM ** self.batches.double())
            self.centre.lerp_(mean_C.detach(), rate.to(self.centre.dtype))
        return mean_C


class ViewTemperature(AdaptiveTemperature):
    """τ of a pair as the mean of what its two views have each; see the module's docstring."""

    def __init__(self, heads: HeadsConfig, config: TemperatureConfig) -> None:
        super().__init__(heads, config)
        self.phi = nn.Sequential(
            nn.Linear(heads.dim, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, 1, bias=False)
        )

    def embed(self, z: Tensor) -> Tensor:
        """ψ of unit-norm head outputs: [..., D] -> [..., 1]."""
        return self.phi(z)  # type: ignore[no-any-return]

    def embed_pairs(
        self,
        z_CND: Tensor,
        z_CMD: Tensor,
        *,
        own_N: Tensor | None = None,  # noqa: ARG002 - what is left out of the pairs is a view all the same
        excluded_NM: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Rows a [C, N, 2] and b [C, M, 2] with ⟨a_i, b_j⟩ = (τ_i + τ_j)/2."""
        half_CN1, half_CM1 = (tau.unsqueeze(-1) / 2 for tau in self._of_views(z_CND, z_CMD))
        return F.pad(half_CN1, (0, 1), value=1.0), F.pad(half_CM1, (1, 0), value=1.0)

    def between(self, a_CNF: Tensor, b_CMF: Tensor) -> Tensor:
        """τ [C, N, M] of all pairs of the rows that `embed_pairs` gave, or of some of them."""
        return a_CNF @ b_CMF.transpose(1, 2)

    def forward(self, z_NCD: Tensor, other_NCD: Tensor) -> Tensor:
        """τ [N, C] of the pairs of equal rows of two unit-norm [N, C, D]."""
        tau_CN, other_CN = self._of_views(z_NCD.transpose(0, 1), other_NCD.transpose(0, 1))
        return ((tau_CN + other_CN) / 2).T

    def _of_views(self, z_CND: Tensor, z_CMD: Tensor) -> tuple[Tensor, Tensor]:
        """τ [C, N] and [C, M] of the views themselves."""
        u_CN = self.gain.view(-1, 1) * self.embed(z_CND).squeeze(-1)
        u_CM = u_CN if z_CMD is z_CND else self.gain.view(-1, 1) * self.embed(z_CMD).squeeze(-1)
        centre_C = self._centre((u_CN.mean(1) + u_CM.mean(1)) / 2) if self.training else self.centre
        shift_C1 = (self._levels() - centre_C).view(-1, 1)
        return self._bounded(u_CN + shift_C1), self._bounded(u_CM + shift_C1)


class SimilarityTemperature(AdaptiveTemperature):
    """A fixed function of the pair's cosine, without parameters: φ the identity, gain 1, no bias (a control, ours).

    What an AdaptiveTemperature learns is nearly a function of the similarity; this asks what the learning adds.
    """

    def __init__(self, heads: HeadsConfig, config: TemperatureConfig) -> None:
        super().__init__(heads, config)
        self.phi = nn.Identity()
        for name in ("gain", "bias"):
            fixed = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, fixed)


class ChannelTemperature(nn.Module):
    """τ of pairs of feature channels as a function of their correlation (Barlow Twins); see the module's docstring.

    φ is a small MLP from a number to a number whose last layer starts at zero, so that every τ starts at the standard
    value. Evaluated in chunks that backward recomputes: memory beside the result does not grow with d'.
    """

    def __init__(self, heads: HeadsConfig, config: TemperatureConfig) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high
        self.phi = nn.Sequential(nn.Linear(1, _CHANNEL_HIDDEN), nn.Tanh(), nn.Linear(_CHANNEL_HIDDEN, 1, bias=False))
        nn.init.zeros_(self.phi[2].weight)  # type: ignore[arg-type]
        self.gain = nn.Parameter(torch.ones(heads.num))
        self.bias = nn.Parameter(torch.full((heads.num,), _logit(config)))

    def forward(self, corr_CDD: Tensor) -> Tensor:
        """τ [C, D, D] of correlations [C, D, D], float32 or float64."""
        with full_precision(corr_CDD.device):
            rows = max(1, _CHANNEL_CHUNK // corr_CDD[:, 0].numel())
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
        return (torch.sigmoid(logit_CLD) * (self.high - self.low)).add_(self.low)


Temperature = ConstantTemperature | AdaptiveTemperature
_KINDS = {"pairs": AdaptiveTemperature, "views": ViewTemperature, "similarity": SimilarityTemperature}


def build(heads: HeadsConfig, config: TemperatureConfig) -> Temperature:
    """The temperature of pairs of images that `config` names."""
    if not config.varies_between_images:
        return ConstantTemperature(config.value)
    return _KINDS[config.of](heads, config)


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


def _logit(config: TemperatureConfig) -> float:
    start = (config.value - config.low) / (config.high - config.low)
    return math.log(start / (1 - start))
