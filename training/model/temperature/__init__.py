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

from training.config import HeadsConfig, PairTemperatureConfig, TemperatureConfig
from training.model.temperature.channels import ChannelTemperature
from training.model.temperature.constant import ConstantTemperature
from training.model.temperature.pairs import AdaptiveTemperature
from training.model.temperature.similarity import SimilarityTemperature
from training.model.temperature.views import ViewTemperature

__all__ = [
    "AdaptiveTemperature",
    "ChannelTemperature",
    "ConstantTemperature",
    "SimilarityTemperature",
    "Temperature",
    "ViewTemperature",
    "build",
]

Temperature = ConstantTemperature | AdaptiveTemperature
_KINDS = {"pairs": AdaptiveTemperature, "views": ViewTemperature, "similarity": SimilarityTemperature}


def build(heads: HeadsConfig, config: TemperatureConfig) -> Temperature:
    """The temperature of pairs of images that `config` names."""
    if isinstance(config, PairTemperatureConfig) and config.kind == "adaptive":
        return _KINDS[config.of](heads, config)
    return ConstantTemperature(config.value)
