"""Random masks: sizes, agreement of the two answers, determinism, and that every patch is kept equally often."""

from __future__ import annotations

import pytest
import torch

from training.model.masking import random_keep


def draw(count: int, patches: int, ratio: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return random_keep(count, patches, ratio, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("patches", "ratio", "kept"),
    [(64, 0.75, 16), (64, 0.5, 32), (49, 0.75, 12), (4, 0.95, 1), (9, 0.01, 9), (1, 0.9, 1)],
)
def test_keep_and_hidden_say_the_same(patches: int, ratio: float, kept: int) -> None:
    keep, hidden = draw(5, patches, ratio)
    assert (keep.dtype, hidden.dtype) == (torch.int64, torch.bool)
    assert keep.shape == (5, kept)
    assert hidden.shape == (5, patches)
    for row, mask in zip(keep.tolist(), hidden.tolist(), strict=True):
        assert row == [patch for patch in range(patches) if not mask[patch]]  # ascending, no patch twice


def test_a_seed_gives_the_same_mask_and_images_differ() -> None:
    assert torch.equal(draw(8, 64, 0.75)[0], draw(8, 64, 0.75)[0])
    assert not torch.equal(draw(8, 64, 0.75)[0], draw(8, 64, 0.75, seed=1)[0])
    assert len(set(map(tuple, draw(8, 64, 0.75)[0].tolist()))) == 8


def test_every_patch_is_hidden_as_often_as_the_ratio_says() -> None:
    _, hidden = draw(4000, 16, 0.75)
    share = hidden.double().mean(0)
    spread = (0.75 * 0.25 / 4000) ** 0.5
    assert (share - 0.75).abs().max() < 4.5 * spread
