"""Two views of an image. Kinds, as on the poster: a crop, b blur, c colour dropping, d colour distortion, e flip.

What is done is decided by uniform numbers (`Augmentation.decide`); crop and flip happen where the image is
(`crop`, `crop_batch`); colours and blur happen for the whole batch, on the training device (`photometric`).
Operations follow torchvision's definitions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.augment.colour import photometric
from training.augment.crop import crop, crop_batch
from training.augment.draw import DRAWS, PARAMETERS, Augmentation, Drawn
from training.augment.strengths import Strengths, strengths
from training.config import AugmentConfig

__all__ = [
    "DRAWS",
    "PARAMETERS",
    "Augmentation",
    "Drawn",
    "Strengths",
    "crop",
    "crop_batch",
    "photometric",
    "strengths",
    "views",
]


def views(
    image: npt.NDArray[np.uint8], *, preset: str, size: int, seed: int, epoch: int, index: int, count: int = 2
) -> npt.NDArray[np.uint8]:
    """`count` views of one image, uint8 [H, W, 3] -> [count, S, S, 3], by the preset's kinds (such as "abcde").

    A function of (seed, epoch, index), apart from the stream of training. The last number of a view is drawn after the
    others of all views, so that figures measured before there was one can be measured again.
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, index, epoch]))
    u = np.concatenate([generator.random((count, DRAWS - 1)), generator.random((count, 1))], 1)
    height, width = image.shape[:2]
    drawn = Augmentation(AugmentConfig(kinds=preset), size).decide(
        u[:, None], np.array([width], float), np.array([height], float)
    )
    source = Image.fromarray(image)
    crops = [crop(source, box, flip, size) for box, flip in zip(drawn.boxes, drawn.flips, strict=True)]
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().float().div_(255)
    out = photometric(x, torch.from_numpy(drawn.parameters)).mul_(255).round_().clamp_(0, 255).byte()
    return out.permute(0, 2, 3, 1).contiguous().numpy()
