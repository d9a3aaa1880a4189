"""Adaptive temperatures of single views, whose mean a pair has. Legend and formula: `training.model.temperature`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.config import HeadsConfig, PairTemperatureConfig
from training.model.temperature.pairs import AdaptiveTemperature


class ViewTemperature(AdaptiveTemperature):
    """τ of a pair as the mean of what its two views have each; see the package's docstring."""

    def __init__(self, heads: HeadsConfig, config: PairTemperatureConfig) -> None:
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
