"""Crop, flip and resize of one image, by Pillow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image


def crop(image: Image.Image, box: npt.NDArray[np.float64], flip: bool, size: int) -> npt.NDArray[np.uint8]:
    """The box (left, top, right, bottom) of an RGB image, resized by a triangle filter, flipped: uint8 [S, S, 3]."""
    left, top, right, bottom = box.tolist()
    view = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view)
