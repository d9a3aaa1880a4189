"""LGP, Layer Grafted Pre-training (Jiang et al. 2023), standard and adaptive: masked images first, then contrast.

Stage 1 is MAE (He et al. 2022): a decoder reconstructs the hidden patches. Stage 2 grafts InfoNCE in the manner of
MoCo v3 (Chen et al. 2021) onto it: a momentum encoder's keys, symmetric, no queue, no masks. The patch embedding is
then frozen and the lower two thirds of the blocks learn at a tenth of the upper third's rate, which keeps what MAE
taught them.
Legend: B images, N = 2B views, C heads, each a projector with its predictor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.config.methods import LGPConfig
from training.machine import distributed
from training.machine.precision import full_precision
from training.methods.base import Method, Seen, Step
from training.methods.contrast import contrast_of
from training.model.backbones.vit import ViT, patchify
from training.model.decoder import Decoder
from training.model.heads import by_head
from training.model.masking import draw_masks
from training.model.momentum import MomentumEncoder
from training.model.parts import in_parts
from training.objectives.reconstruction import masked_reconstruction_loss


class LGP(Method):
    """A ViT, MAE's decoder, and heads with a momentum encoder."""

    def __init__(self, config: LGPConfig) -> None:
        super().__init__(config)
        assert isinstance(self.model.backbone, ViT)
        self.vit, self.masked = self.model.backbone, config.masked
        self.contrast = contrast_of(config.temperature, config.loss)
        self.decoder = Decoder(self.vit.num_patches, config.backbone.width, config.masked, self.vit.patch**2 * 3)
        self.key = MomentumEncoder(self.model, config.momentum)
        # MoCo v3's: the gradient's size does not depend on τ. A joint level is C times that of one head.
        self.scale = 2 * config.temperature.value / (config.heads.num if config.loss.heads == "joint" else 1)
        self.enter(0)

    def stages(self) -> Sequence[int]:
        """Epochs of MAE and of InfoNCE."""
        return [self.masked.epochs, self.epochs]

    def enter(self, stage: int) -> None:
        """Choose what learns; the second stage starts the momentum encoder from what the first has taught."""
        self.stage = stage
        for part in (self.model.heads, self.model.temperature):
            part.requires_grad_(stage == 1)
        self.decoder.requires_grad_(stage == 0)
        for name, parameter in self.vit.named_parameters():
            parameter.requires_grad_(stage == 0 or self.vit.block_of(name) is not None or name.startswith("norm"))
        if stage == 1:
            self.key.copy(self.model)

    def rate(self, name: str) -> float:
        """In the second stage the lower two thirds of the blocks are slow."""
        block = self.vit.block_of(name.removeprefix("model.backbone.")) if name.startswith("model.backbone.") else None
        lower = block is not None and block < round(self.vit.depth * 2 / 3)
        return self.masked.lower_rate if self.stage == 1 and lower else 1.0

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:
        """MAE's loss in the first stage, symmetric InfoNCE in the second."""
        return self._reconstruct(views_N3SS, step) if self.stage == 0 else self._contrast(views_N3SS, step)

    def _reconstruct(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:
        generator = step.generator(views_N3SS.device)
        keep_NK, hidden_NP = draw_masks(len(views_N3SS), self.vit.num_patches, self.masked.ratio, generator)
        tokens_NKD = in_parts(self.vit, self.vit.tokens, self.model.parts, views_N3SS, keep_NK)
        predicted_NPK = self.decoder(tokens_NKD, keep_NK)
        with full_precision(views_N3SS.device):
            target_NPK = patchify(views_N3SS, self.vit.patch)
            wide = predicted_NPK.to(torch.promote_types(predicted_NPK.dtype, torch.float32))
            loss = masked_reconstruction_loss(wide, target_NPK, hidden_NP, normalised=True)
        return loss, Seen(tokens_NKD.detach().mean(1))

    def _contrast(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:
        if self.training:
            self.key.follow(self.model, step.progress)
        first_B3SS, second_B3SS = views_N3SS.chunk(2)
        features, losses = [], []
        for query_B3SS, key_B3SS in ((first_B3SS, second_B3SS), (second_B3SS, first_B3SS)):
            features_BD, heads_BCD = self.model(query_B3SS)
            keys_CMD = distributed.gather(self.key(key_B3SS).transpose(0, 1)).transpose(0, 1)
            with full_precision(query_B3SS.device):
                z_CBD = by_head(heads_BCD)
                positive_B = distributed.rank() * z_CBD.shape[1] + torch.arange(z_CBD.shape[1], device=z_CBD.device)
                losses.append(self.contrast(z_CBD, keys_CMD, positive_B, self.model.temperature))
            features.append(features_BD.detach())
        seen = Seen(torch.cat(features), z_CBD.detach(), keys_CMD, positive_B)  # heads of the second direction
        return self.scale * torch.stack(losses).mean(), seen
