from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.pixels import decode

SPEC = InputSpec(size=16)


def at_once(_pixels: int) -> None:
    """For `read`: an image that waits for no other."""


def pixels(data: bytes, *, spec: InputSpec = SPEC, max_pixels: int = 1_000_000) -> npt.NDArray[np.int64]:
    found = decode(data, spec, max_pixels=max_pixels)
    assert found.shape == (spec.size, spec.size, 3)
    assert found.dtype == np.uint8
    return found.astype(np.int64)


def reference(image: Image.Image, size: int = 16) -> npt.NDArray[np.int64]:
    """The definition, literally: resize the whole picture, then cut out the centre (sizes that divide evenly)."""
    scale = size / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    whole = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(np.int64)
    top, left = (height - size) // 2, (width - size) // 2
    return whole[top : top + size, left : left + size]


def is_colour(found: npt.NDArray[np.int64], colour: tuple[int, int, int], tolerance: int = 0) -> bool:
    return bool((abs(found - np.array(colour)) <= tolerance).all())


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
