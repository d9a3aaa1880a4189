"""Every mode that Pillow decodes to, as RGB: transparency laid on white, deep samples scaled to 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

_STRIP = 1 << 20  # pixels that are converted at a time


def to_rgb(image: Image.Image, *, keep_cmyk: bool = False) -> Image.Image:
    """`image` as RGB; CMYK as it is if it is kept for a profile."""
    if (image.mode == "RGB" and not image.has_transparency_data) or (image.mode == "CMYK" and keep_cmyk):
        return image
    if image.mode.startswith("I;16"):
        return in_strips(image, _from_16_bit)
    return in_strips(image, _on_white if image.has_transparency_data else _converted)


def in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`convert` applied to some rows at a time: of a large image its intermediate copies would fill the memory."""
    canvas = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        canvas.paste(convert(strip), (0, top))
    return canvas


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, copy) of strips of `image`, from the top."""
    width, height = image.size
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _converted(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """On white: cut-out pictures are made for light pages, and the RGB under full transparency is arbitrary."""
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _from_16_bit(strip: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits: Pillow's own conversion clips at 255."""
    values = np.asarray(strip).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
