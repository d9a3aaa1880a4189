"""One temperature for all: what makes a method the standard one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
