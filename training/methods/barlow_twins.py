"""Barlow Twins (Zbontar et al. 2021), standard and adaptive: the views' channels are to correlate one to one.

Its pairs are channels, so its adaptive temperatures are functions of a correlation and stay in training: pairs of
images have a constant one. Legend: B images, C heads, D dims of a head (d').
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config.methods import BarlowTwinsConfig
from training.machine import distributed
from training.machine.precision import full_precision
from training.methods.base import Method, Seen, Step
from training.model.heads import by_head
from training.model.temperature import ChannelTemperature
from training.objectives.cross_correlation import correlation, cross_correlation_loss


class BarlowTwins(Method):
    """One backbone, C projectors, the cross-correlation of two views over the images of all processes."""

    def __init__(self, config: BarlowTwinsConfig) -> None:
        super().__init__(config)
        t = config.temperature
        self.channel_temperature: ChannelTemperature | None = None
        if t.kind == "adaptive":
            self.channel_temperature = ChannelTemperature(config.heads, t)
            # A few numbers sum the gradients of d'² pairs: unscaled they swing from bound to bound at the network's
            # learning rate, and alone make up the norm that gradients are cut to. The loss is as it was.
            for parameter in self.channel_temperature.parameters():
                parameter.register_hook(lambda gradient: gradient / config.heads.dim)  # type: ignore[no-untyped-call]
        self.redundancy, self.beta, self.eta, self.value = config.loss.redundancy, t.beta, t.eta, t.value

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:  # noqa: ARG002
        """The mean over heads of Σ (1 − C_ll/τ)² + λ Σ C_lm²/τ, with Ω of both temperatures."""
        outputs = [self.model(view_B3SS) for view_B3SS in views_N3SS.chunk(2)]  # apart: own batch statistics
        with full_precision(views_N3SS.device):
            wide = [heads.to(torch.promote_types(heads.dtype, torch.float32)) for _, heads in outputs]
            corr_CDD = correlation(*(distributed.gather(heads_BCD) for heads_BCD in wide))
            tau = torch.tensor(self.value) if self.channel_temperature is None else self.channel_temperature(corr_CDD)
            loss = cross_correlation_loss(corr_CDD, tau, redundancy=self.redundancy, beta=self.beta, eta=self.eta)
            anchors_CBD, candidates_CBD = (by_head(heads.detach()) for heads in wide)
        on_C = corr_CDD.detach().diagonal(dim1=1, dim2=2)
        numbers = {"correlation_diagonal": on_C.mean(), "correlation_off": _off_diagonal_rms(corr_CDD.detach())}
        if tau.dim():
            numbers |= {
                "tau_positive": tau.detach().diagonal(dim1=1, dim2=2).mean(),
                "tau_negative": tau.detach().mean(),
            }
        return loss, Seen(
            torch.cat([features for features, _ in outputs]).detach(),
            anchors_CBD,
            candidates_CBD,
            torch.arange(anchors_CBD.shape[1], device=loss.device),
            numbers=numbers,
        )


def _off_diagonal_rms(corr_CDD: Tensor) -> Tensor:
    d = corr_CDD.shape[1]
    squares = corr_CDD.square().sum((1, 2)) - corr_CDD.diagonal(dim1=1, dim2=2).square().sum(1)
    return (squares / (d * (d - 1))).mean().sqrt()
