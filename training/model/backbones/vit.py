"""Vision transformer (Dosovitskiy et al. 2021) as MAE and MoCo v3 train it, able to look at some patches only.

Pre-norm blocks, fixed 2-D sine-cosine positions, no class token: a feature vector is the mean of the final normed
tokens. CAN contrasts that mean, LGP's first stage needs no class token, and so one network serves both; each token then
also has the same part in the feature, which is what masking half of them away asks for.

Legend: N images, S pixels a side, P patches, K kept patches, D width, A attention heads, E dims of one, p patch side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import BackboneConfig, ViTConfig

_MLP_RATIO = 4
_NORM_EPS = 1e-6


def patchify(x_N3SS: Tensor, patch: int) -> Tensor:
    """Cut images into squares: [N, 3, S, S] -> [N, P, 3p²], row by row; within a patch row, column, channel."""
    side = x_N3SS.shape[-1] // patch
    x = x_N3SS.permute(0, 2, 3, 1).reshape(-1, side, patch, side, patch, 3)
    return x.transpose(2, 3).reshape(-1, side * side, patch * patch * 3)


def positions(side: int, width: int) -> Tensor:
    """Sine-cosine embedding of the places of a square grid, [side², width], in the order of `patchify`.

    A quarter of the width each for sin and cos of the column and of the row, at frequencies 10000^(-4i/width), as in
    MoCo v3 and MAE. ValueError unless 4 divides the width.
    """
    if width % 4:
        raise ValueError(f"a token's width must be a multiple of 4 for its 2-D position, not {width}")
    frequency = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    row, column = angle.repeat_interleave(side, 0), angle.repeat(side, 1)
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1).float()


def take_rows(x_NPD: Tensor, rows_NK: Tensor) -> Tensor:
    """The rows named for each image: [N, P, D] and int64 [N, K] -> [N, K, D]."""
    return x_NPD.gather(1, rows_NK[:, :, None].expand(-1, -1, x_NPD.shape[-1]))


def initialise(module: nn.Module) -> None:
    """Weights as MAE's: Xavier's uniform for every linear layer, no biases; norms as torch makes them."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)


def attention(q_NAKE: Tensor, k_NAKE: Tensor, v_NAKE: Tensor) -> Tensor:
    """softmax(q kᵀ / √E) v.

    torch's fused kernel, but for bf16 on CPU, where it makes the step of a ViT over 64 tokens 1.3 to 2 times as long as
    the matrix products written out do (at 16 tokens 2 to 3 times).
    """
    if q_NAKE.device.type != "cpu" or q_NAKE.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q_NAKE, k_NAKE, v_NAKE)
    scores_NAKK = (q_NAKE * q_NAKE.shape[-1] ** -0.5) @ k_NAKE.transpose(-1, -2)
    return scores_NAKK.softmax(-1, dtype=torch.float32).to(v_NAKE.dtype) @ v_NAKE  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + MLP(norm(x)); [N, K, D] -> [N, K, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} attention heads do not divide a token's width of {width}")
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(width, _MLP_RATIO * width), nn.GELU(), nn.Linear(_MLP_RATIO * width, width))

    def forward(self, x_NKD: Tensor) -> Tensor:
        """One block."""
        x_NKD = x_NKD + self.out(self._attend(self.norm1(x_NKD)))
        return x_NKD + self.mlp(self.norm2(x_NKD))  # type: ignore[no-any-return]

    def _attend(self, x_NKD: Tensor) -> Tensor:
        count, width = x_NKD.shape[1:]
        q_NAKE, k_NAKE, v_NAKE = (
            part.reshape(-1, count, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x_NKD).chunk(3, dim=-1)
        )
        attended_NAKE = attention(q_NAKE, k_NAKE, v_NAKE)
        return attended_NAKE.transpose(1, 2).reshape(-1, count, width)


class ViT(nn.Module):
    """x [N, 3, S, S] -> features [N, D]; `tokens` gives what the mean is taken of.

    `num_patches`, `patch` and `depth` say how it is cut. ValueError when the sizes in `config` do not fit together.
    """

    position: Tensor

    def __init__(self, config: BackboneConfig | ViTConfig, image_size: int) -> None:
        super().__init__()
        if image_size % config.patch:
            raise ValueError(f"patches of {config.patch} pixels do not tile an image of {image_size}")
        side = image_size // config.patch
        self.patch, self.depth, self.num_patches = config.patch, config.depth, side * side
        self.patch_embedding = nn.Linear(3 * config.patch**2, config.width)
        self.register_buffer("position", positions(side, config.width), persistent=False)
        self.blocks = nn.ModuleList(Block(config.width, config.attention_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=_NORM_EPS)
        initialise(self)

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Features [N, D]."""
        return self.tokens(x_N3SS).mean(1)

    def tokens(self, x_N3SS: Tensor, keep_NK: Tensor | None = None) -> Tensor:
        """Final normed tokens [N, K, D] of the patches whose numbers are in `keep_NK` (int64), or of all, [N, P, D].

        Patches that are not kept cost nothing and are not seen by the others.
        """
        patches = patchify(x_N3SS, self.patch)
        position = self.position
        if keep_NK is not None:
            patches, position = take_rows(patches, keep_NK), position[keep_NK]
        x_NKD = self.patch_embedding(patches) + position
        for block in self.blocks:
            x_NKD = block(x_NKD)
        return self.norm(x_NKD)  # type: ignore[no-any-return]

    def block_of(self, name: str) -> int | None:
        """Number, from 0, of the block that a parameter of this network belongs to; None for those outside blocks.

        `name` is as in this network's own `named_parameters`, without the prefix of a larger model.
        """
        part, _, rest = name.partition(".")
        assert part in ("patch_embedding", "blocks", "norm"), f"{name} is no parameter of this network"
        return int(rest.split(".")[0]) if part == "blocks" else None
