"""Views in NumPy are the views that training makes by PyTorch from the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from amcl_serve.evaluation.views import views
from amcl_serve.evaluation.views.crop import crop
from amcl_serve.evaluation.views.draw import DRAWS
from training.augment import Augmentation, photometric
from training.config import AugmentConfig


def picture(width: int, height: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def by_torch(image: np.ndarray, preset: str, size: int, seed: int, index: int) -> np.ndarray:
    """The same draws, coloured as a batch of training is."""
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, index, 0]))
    u = np.concatenate([generator.random((2, DRAWS - 1)), generator.random((2, 1))], 1)
    height, width = image.shape[:2]
    augmentation = Augmentation(AugmentConfig(kinds=preset), size)
    drawn = augmentation.decide(u[:, None], np.array([width], float), np.array([height], float))
    source = Image.fromarray(image)
    crops = [crop(source, box, flip, size) for box, flip in zip(drawn.boxes, drawn.flips, strict=True)]
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().float().div_(255)
    out = photometric(x, torch.from_numpy(drawn.parameters)).mul_(255).round_().clamp_(0, 255).byte()
    return out.permute(0, 2, 3, 1).contiguous().numpy()


@pytest.mark.parametrize("preset", ["a", "b", "c", "d", "e", "abcde", ""])
def test_views_are_those_of_training_within_one_level(preset):
    unlike = 0.0
    for index in range(30):
        image = picture(30 + index, 60 - index, index)
        size = 16 + 4 * (index % 4)
        ours = views(image, preset=preset, size=size, seed=3, epoch=0, index=index)
        theirs = by_torch(image, preset, size, 3, index)
        difference = np.abs(ours.astype(int) - theirs.astype(int))
        assert difference.max() <= 1  # a rounding of the last bit, where a value lies halfway between two levels
        unlike += float(np.mean(difference > 0)) / 30
    assert unlike < 1e-3


def test_views_leave_the_image_and_refuse_unknown_kinds():
    image = picture(20, 20, 0)
    before = image.copy()
    views(image, preset="abcde", size=16, seed=0, epoch=0, index=0)
    np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match="letters of abcde"):
        views(image, preset="abx", size=16, seed=0, epoch=0, index=0)
