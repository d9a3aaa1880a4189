"""Augmented views of one image, in NumPy and Pillow.

Kinds, as on the poster: a crop, b blur, c colour dropping, d colour distortion, e flip.

Training draws its views by the same numbers (`draw`), and colours them in batches on its device.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.evaluation.views.colour import photometric
from amcl_serve.evaluation.views.crop import crop
from amcl_serve.evaluation.views.draw import DRAWS, decide
from amcl_serve.evaluation.views.strengths import by_letters

__all__ = ["KINDS", "views"]

KINDS = "abcde"


def views(
    image: npt.NDArray[np.uint8], *, preset: str, size: int, seed: int, epoch: int, index: int, count: int = 2
) -> npt.NDArray[np.uint8]:
    """`count` views of one image, uint8 [H, W, 3] -> [count, S, S, 3], by the preset's kinds (such as "abcde").

    A function of (seed, epoch, index), apart from the stream of training. The last number of a view is drawn after the
    others of all views, so that figures measured before there was one can be measured again. ValueError for a preset
    with other letters.
    """
    if not set(preset) <= set(KINDS):
        raise ValueError(f"kinds of augmentation are letters of {KINDS}, not {preset!r}")
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, index, epoch]))
    u = np.concatenate([generator.random((count, DRAWS - 1)), generator.random((count, 1))], 1)
    height, width = image.shape[:2]
    strengths = by_letters(preset)
    drawn = decide(u[:, None], np.array([width], float), np.array([height], float), (strengths, strengths))
    source = Image.fromarray(image)
    out = np.empty((count, size, size, 3), np.uint8)
    for view, (box, flip, parameters) in enumerate(zip(drawn.boxes, drawn.flips, drawn.parameters, strict=True)):
        coloured = photometric(crop(source, box, flip, size).astype(np.float32) / np.float32(255), parameters)
        out[view] = np.rint(coloured * np.float32(255)).clip(0, 255)
    return out
