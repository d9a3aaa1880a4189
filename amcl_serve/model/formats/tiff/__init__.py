"""TIFF and BigTIFF of either byte order, read here, as Pillow gives some of them wrong. All of it runs in a child.

`directory` reads the tags, `layout` says what they mean and refuses what is not read, `blocks` unpacks strips and tiles,
`samples` puts their numbers together, and `colours` says what they look like.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from amcl_serve.model.formats import profiles
from amcl_serve.model.formats.tiff.colours import convert, range_of
from amcl_serve.model.formats.tiff.directory import Directory, parse
from amcl_serve.model.formats.tiff.layout import CMYK, LAB, PALETTE, Layout, layout
from amcl_serve.model.formats.tiff.samples import rows

_ORIENTATION, _PALETTE = 274, 320


def read(data: bytes, max_pixels: int) -> tuple[Image.Image, int]:
    """The first page as RGB, and the orientation that is still to be applied.

    Raises ImageTooLarge, UndecodableImage, UnsupportedImage, and what Pillow raises of damaged files.
    """
    directory = parse(data)
    found = layout(directory, max_pixels)
    return _converted(data, found, directory), directory.one(_ORIENTATION, 1)


def _converted(data: bytes, found: Layout, directory: Directory) -> Image.Image:
    mode = "CMYK" if found.photometric == CMYK else "RGB" if found.colours == 3 or found.photometric == PALETTE else "L"
    matters = found.photometric != LAB and profiles.matters(directory.profile, mode)
    profile = directory.profile if matters else None
    in_cmyk = mode == "CMYK" and profile is not None and found.alpha is None
    canvas = Image.new("CMYK" if in_cmyk else "RGB", (found.width, found.height))
    palette = np.array(directory.tags[_PALETTE]) if found.photometric == PALETTE else None
    scale = range_of(lambda: rows(data, found), found)
    for top, samples in rows(data, found):
        part = convert(samples, found, scale, palette, in_cmyk)
        canvas.paste(Image.fromarray(part, canvas.mode), (0, top))
    return profiles.to_srgb(canvas, profile if mode != "CMYK" or in_cmyk else None)
