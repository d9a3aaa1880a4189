"""Temperatures that nothing learns: a control."""

from __future__ import annotations

from torch import nn

from training.config import HeadsConfig, PairTemperatureConfig
from training.model.temperature.pairs import AdaptiveTemperature


class SimilarityTemperature(AdaptiveTemperature):
    """A fixed function of the pair's cosine, without parameters: φ the identity, gain 1, no bias (a control, ours).

    What an AdaptiveTemperature learns is nearly a function of the similarity; this asks what the learning adds.
    """

    def __init__(self, heads: HeadsConfig, config: PairTemperatureConfig) -> None:
        super().__init__(heads, config)
        self.phi = nn.Identity()
        for name in ("gain", "bias"):
            fixed = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, fixed)
