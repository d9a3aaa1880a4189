"""SimCLR (Chen et al. 2020), standard and adaptive: every other view of the batch is a candidate.

With C = 1 and a constant τ it is SimCLR as published; `loss.positive_in_denominator=false` is the poster's NT-Xent.
Legend: B images, N = 2B views (first views, then second views), C heads, D dims of a head.
"""

from __future__ import annotations

from torch import Tensor

from training.config.methods import SimCLRConfig
from training.machine.precision import full_precision
from training.methods.base import Method, Seen, Step
from training.methods.contrast import contrast_of, contrast_views


class SimCLR(Method):
    """One backbone, C projectors, NT-Xent among all views of the batch."""

    def __init__(self, config: SimCLRConfig) -> None:
        super().__init__(config)
        self.contrast = contrast_of(config.temperature, config.loss)

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:  # noqa: ARG002
        """The mean over heads and views of the contrastive loss."""
        features_ND, heads_NCD = self.model(views_N3SS)
        with full_precision(views_N3SS.device):
            return contrast_views(self.contrast, self.model.temperature, features_ND, heads_NCD)
