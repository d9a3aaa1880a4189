"""Bytes to pixels, for the server, training and the commands alike; whatever the bytes, only four errors come out.

    decode, upright ─▶ what is it? ─┬─▶ formats, in this process: the fast path, fuzzed (`make fuzz`)
                                    └─▶ children ─▶ formats, in a child: all else; a crash costs one image

The fast path is 8-bit JPEG of SOF0 to SOF2, PNG and WebP, none with a colour profile that has to be converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.errors import EmptyImage
from amcl_serve.model.children.pool import shared
from amcl_serve.model.formats.files import ACCEPTED, FORMATS, is_fast, kind_of
from amcl_serve.model.formats.jpeg import MAX_SCANS, SCALABLE_FRAMES, frame_of
from amcl_serve.model.formats.reading import LeftToChild, Wanted, fit, read
from amcl_serve.model.formats.turns import TURNS

if TYPE_CHECKING:  # the card's schema is not for children
    from amcl_serve.model.bundle import InputSpec

__all__ = (
    "ACCEPTED",
    "FORMATS",
    "MAX_SCANS",
    "OWN_FILES_MAX_PIXELS",
    "SCALABLE_FRAMES",
    "decode",
    "fit",
    "frame_of",
    "upright",
)

OWN_FILES_MAX_PIXELS = 178_956_970  # Pillow's own limit, where the files are the user's own and no stranger's


def decode(data: bytes, spec: InputSpec, *, max_pixels: int, accept_truncated: bool = False) -> npt.NDArray[np.uint8]:
    """Decode one image to uint8 [S, S, 3], S = `spec.size`: upright sRGB, shorter side resized, centre kept (`fit`).

    Of an animation or a multi-page file the first frame is taken; transparency is laid on white. Raises EmptyImage,
    UnsupportedImage (no image of an accepted format, or of a variant that it names), ImageTooLarge (more than
    `max_pixels`, read from the header before any pixel is decoded; Pillow's own limit of 179 million holds beside it)
    or UndecodableImage; with `accept_truncated` what is there of a file that was cut off is taken.
    """
    wanted = Wanted(spec.size, spec.scaled_jpeg_decoding, max_pixels, accept_truncated, spec.interpolation, spec.crop)
    return np.array(_image(data, wanted), dtype=np.uint8)


def upright(data: bytes, *, max_pixels: int = OWN_FILES_MAX_PIXELS, accept_truncated: bool = False) -> Image.Image:
    """Decode one image to RGB at its own size, upright; colours, frames and errors are those of `decode`."""
    return _image(data, Wanted(0, False, max_pixels, accept_truncated))


def _image(data: bytes, wanted: Wanted) -> Image.Image:
    if not data:
        raise EmptyImage("zero bytes where an image was expected")
    kind = kind_of(data)
    if is_fast(kind, data):
        try:
            with TURNS.one() as take:
                return read(data, kind, wanted, take, in_child=False)
        except LeftToChild:
            pass
    return shared().read(data, wanted)
