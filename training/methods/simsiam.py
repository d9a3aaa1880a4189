"""SimSiam (Chen & He 2021), standard and adaptive: each view's prediction meets the other view's projection.

The C heads are predictors on one projector (poster): z is a predictor's output, h the projector's, which has no head
index and gets no gradient as a target. Legend: B images, C heads, D dims of a head (d').
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config.methods import SimSiamConfig
from training.machine.precision import full_precision
from training.methods.base import Method, Seen, Step
from training.model.heads import by_head
from training.objectives.negative_cosine import negative_cosine_loss


class SimSiam(Method):
    """One backbone, one projector, C predictors, negative cosine with stopped gradients."""

    def __init__(self, config: SimSiamConfig) -> None:
        super().__init__(config)
        t = config.temperature
        self.beta, self.eta = t.beta if t.kind == "adaptive" else 0.0, t.eta  # Ω of a constant has no gradient

    def rate(self, name: str) -> float:
        """Predictors learn C times as fast: the mean over heads leaves each of them 1/C of a lone predictor's gradient.

        The others see the gradients of all heads. Predictors that lag behind the projector let it collapse.
        """
        return float(self.model.heads.num) if name.startswith("model.heads.predictors.") else 1.0

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:  # noqa: ARG002
        """The mean over heads and images of −½ s(z, h⁺)/τ − ½ s(z⁺, h)/τ̃, with Ω of both temperatures."""
        features, h, z = [], [], []
        for view_B3SS in views_N3SS.chunk(2):  # apart, so that each view has its own batch statistics, as published
            features.append(self.model.features(view_B3SS))
            h.append(self.model.heads.project(features[-1]))
            z.append(self.model.heads.predict(h[-1]))
        with full_precision(views_N3SS.device):
            z_BCD, other_z_BCD = (by_head(v).transpose(0, 1) for v in z)
            h_BCD, other_h_BCD = (by_head(v).transpose(0, 1).detach().expand_as(z_BCD) for v in h)
            sim_CB = (z_BCD * other_h_BCD).sum(-1).T
            swapped_CB = (other_z_BCD * h_BCD).sum(-1).T
            tau_CB = self.model.temperature(z_BCD, other_h_BCD).T
            swapped_tau_CB = self.model.temperature(other_z_BCD, h_BCD).T
            loss = negative_cosine_loss(sim_CB, swapped_CB, tau_CB, swapped_tau_CB, beta=self.beta, eta=self.eta)
        anchors_CBD, candidates_CBD = z_BCD.detach().transpose(0, 1), other_h_BCD.transpose(0, 1)
        rows = torch.arange(len(z_BCD), device=loss.device)
        return loss, Seen(torch.cat(features).detach(), anchors_CBD, candidates_CBD, rows)
