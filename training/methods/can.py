"""CAN (Mishra et al. 2022), standard and adaptive: contrast, masked images and noise prediction with one encoder.

Both views get noise of a random level and hide half of their patches. The mean of the visible tokens goes to the heads
and InfoNCE; a decoder, told the level, reconstructs the hidden patches and predicts the noise on the visible ones.
Legend: B images, N = 2B views, P patches, K pixels of a patch (three channels).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from training.config.methods import CANConfig
from training.machine import distributed
from training.machine.precision import full_precision
from training.methods.base import Method, Seen, Step
from training.methods.contrast import contrast_of, contrast_views
from training.model.backbones.vit import ViT, patchify
from training.model.decoder import Decoder
from training.model.masking import draw_masks
from training.model.parts import in_parts
from training.objectives.reconstruction import masked_reconstruction_loss, noise_loss


class CAN(Method):
    """A ViT, C projectors, and a decoder with two outputs."""

    def __init__(self, config: CANConfig) -> None:
        super().__init__(config)
        assert isinstance(self.model.backbone, ViT)
        self.vit, self.masked = self.model.backbone, config.masked
        self.contrast = contrast_of(config.temperature, config.loss)
        outputs = 2 * self.vit.patch**2 * 3
        self.decoder = Decoder(
            self.vit.num_patches, config.backbone.width, config.masked, outputs, noise_max=config.masked.noise_max
        )

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:
        """The weighted sum of InfoNCE, reconstruction and noise prediction."""
        m, patch = self.masked, self.vit.patch
        level_N, noise_N3SS = self.draw_noise(views_N3SS, step)
        keep_NK, hidden_NP = draw_masks(
            len(views_N3SS), self.vit.num_patches, m.ratio, step.generator(views_N3SS.device)
        )
        noisy_N3SS = views_N3SS + noise_N3SS
        tokens_NKD = in_parts(self.vit, self.vit.tokens, self.model.parts, noisy_N3SS, keep_NK)
        features_ND = tokens_NKD.mean(1)
        decoded_NPK = self.decoder(tokens_NKD, keep_NK, level_N)
        heads_NCD = self.model.heads(features_ND)
        with full_precision(views_N3SS.device):
            contrast, seen = contrast_views(self.contrast, self.model.temperature, features_ND, heads_NCD)
            image_NPK, predicted_noise_NPK = decoded_NPK.to(level_N.dtype).chunk(2, dim=-1)
            # The target is the view before noise was added.
            clean_NPK, noise_NPK = patchify(views_N3SS, patch), patchify(noise_N3SS, patch)
            reconstruction = masked_reconstruction_loss(image_NPK, clean_NPK, hidden_NP, normalised=True)
            noise = noise_loss(predicted_noise_NPK, noise_NPK, hidden_NP)
            loss = m.contrast * contrast + m.reconstruction * reconstruction + m.noise * noise
        numbers = {
            "contrast": contrast.detach(),
            "reconstruction": reconstruction.detach(),
            "noise": noise.detach(),
        }
        return loss, replace(seen, numbers=numbers)

    def draw_noise(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """σ ~ U(0, noise_max) [N] and σ times a standard normal [N, 3, S, S]; drawn for the views of all processes."""
        x, generator = views_N3SS, step.generator(views_N3SS.device, purpose=1)
        images = len(x) // 2 * distributed.world_size()
        level = torch.rand(2, images, generator=generator, device=x.device, dtype=x.dtype) * self.masked.noise_max
        noise = torch.randn(2, images, *x.shape[1:], generator=generator, device=x.device, dtype=x.dtype)
        level_N = distributed.local_rows(level)
        return level_N, distributed.local_rows(noise) * level_N.view(-1, 1, 1, 1)
