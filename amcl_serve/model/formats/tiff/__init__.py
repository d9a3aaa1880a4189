"""TIFF and BigTIFF of either byte order, read here, as Pillow gives some of them wrong. All of it runs in a child.

`directory` reads the tags, `layout` says what they mean and refuses what is not read, `blocks` unpacks strips and
tiles, `samples` puts their numbers together, and `colours` says what they look like.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from amcl_serve.model.formats import profiles
from amcl_serve.model.formats.tiff.colours import convert, range_of
from amcl_serve.model.formats.tiff.directory import parse
from amcl_serve.model.formats.tiff.layout import CMYK, LAB, PALETTE, layout
from amcl_serve.model.formats.tiff.samples import rows
from amcl_serve.model.formats.turns import Take

_ORIENTATION, _PALETTE = 274, 320


def read(data: bytes, max_pixels: int, take: Take) -> tuple[Image.Image, int, bytes | None]:
    """The first page as RGB, and what is still to be applied: the orientation, and a profile (then it may be CMYK).

    Raises ImageTooLarge, UndecodableImage, UnsupportedImage, and what Pillow raises of damaged files.
    """
    directory = parse(data)
    found = layout(directory, max_pixels)
    take(found.width * found.height)
    mode = "CMYK" if found.photometric == CMYK else "RGB" if found.colours == 3 or found.photometric == PALETTE else "L"
    matters = found.photometric != LAB and profiles.matters(directory.profile, mode)
    if mode == "CMYK" and found.alpha is not None:  # laid on white as RGB
        matters = False
    canvas = Image.new("CMYK" if mode == "CMYK" and matters else "RGB", (found.width, found.height))
    palette = np.array(directory.tags[_PALETTE]) if found.photometric == PALETTE else None
    scale = range_of(lambda: rows(data, found), found)
    for top, samples in rows(data, found):
        part = convert(samples, found, scale, palette, in_cmyk=canvas.mode == "CMYK")
        canvas.paste(Image.fromarray(part, canvas.mode), (0, top))
    return canvas, directory.one(_ORIENTATION, 1), directory.profile if matters else None
