"""The decoder of masked images: from the tokens of the patches that were seen to an output for every patch.

MAE (He et al. 2022, Sec. 3) reconstructs the hidden ones with it; CAN (Mishra et al. 2022, Sec. 3) also predicts the
noise on the seen ones, told how strong it was.

Legend: N images, P patches, K kept patches, W width of the decoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.config import MaskedConfig
from training.model.backbones.vit import Block, initialise, positions


class NoiseLevel(nn.Module):
    """An embedding of the noise's deviation: σ [N] in [0, σ_max] -> [N, W].

    Sines and cosines of σ/σ_max, from a quarter turn to about eight turns over the range, then an MLP. (Fed with σ
    itself, at most 0.05, the usual frequencies of 1 and below give the same embedding for every σ.)
    """

    frequency: Tensor

    def __init__(self, width: int, sigma_max: float) -> None:
        super().__init__()
        turns = torch.linspace(math.log(0.25), math.log(8.0), width // 2, dtype=torch.float64).exp()
        self.register_buffer("frequency", (2 * math.pi * turns).float(), persistent=False)
        self.sigma_max = sigma_max
        self.mlp = nn.Sequential(nn.Linear(2 * (width // 2), width), nn.GELU(), nn.Linear(width, width))

    def forward(self, sigma_N: Tensor) -> Tensor:
        """The embedding of each σ, the same at any σ when σ_max is 0."""
        share_N = sigma_N / self.sigma_max if self.sigma_max else torch.zeros_like(sigma_N)
        angle = share_N[:, None] * self.frequency
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=1))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Tokens [N, K, encoder_dim] of the seen patches -> [N, P, out_dim] for all of them, in the order of `patchify`.

    With `noise_max`, σ of each image's noise, at most so much, is embedded and added to every token. ValueError when
    the sizes in `config` do not fit together.
    """

    position: Tensor

    def __init__(
        self, num_patches: int, encoder_dim: int, config: MaskedConfig, out_dim: int, *, noise_max: float | None = None
    ) -> None:
        super().__init__()
        width = config.decoder_width
        self.entry = nn.Linear(encoder_dim, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        self.register_buffer("position", positions(math.isqrt(num_patches), width), persistent=False)
        self.noise_level = None if noise_max is None else NoiseLevel(width, noise_max)
        self.blocks = nn.ModuleList(Block(width, config.decoder_heads) for _ in range(config.decoder_depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.exit = nn.Linear(width, out_dim)
        initialise(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens_NKD: Tensor, keep_NK: Tensor, level_N: Tensor | None = None) -> Tensor:
        """Outputs [N, P, out_dim]; `keep_NK` names the patches of the tokens, `level_N` is σ if it was asked for."""
        assert (level_N is None) == (self.noise_level is None)
        seen_NKW = self.entry(tokens_NKD)
        places = keep_NK[:, :, None].expand(-1, -1, seen_NKW.shape[-1])
        masked_NPW = self.mask_token.to(seen_NKW.dtype).expand(len(keep_NK), len(self.position), -1)
        x_NPW = masked_NPW.scatter(1, places, seen_NKW) + self.position
        if self.noise_level is not None and level_N is not None:
            x_NPW = x_NPW + self.noise_level(level_N)[:, None]
        for block in self.blocks:
            x_NPW = block(x_NPW)
        return self.exit(self.norm(x_NPW))  # type: ignore[no-any-return]
