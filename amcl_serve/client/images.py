"""Images as people have them, and the bytes of the files that are sent for them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np

from amcl_serve.client.shapes import Image

__all__ = ["Image", "check", "several", "to_bytes"]

Images = TypeVar("Images", bound=Iterable[Image])

_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def to_bytes(image: Image) -> bytes:
    """The bytes of an image file; OSError where a path cannot be read, TypeError for what is no image.

    A PIL image is turned upright as the server would turn its file, and sent as PNG.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    import PIL.Image
    import PIL.ImageOps

    check(image)
    pixels = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
    upright = PIL.ImageOps.exif_transpose(pixels)
    stream = BytesIO()
    (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def check(image: Image) -> None:
    """Raise what `to_bytes` would, without reading more than a path's first byte; OSError for a damaged PIL image."""
    if isinstance(image, bytes):
        return
    if isinstance(image, str | os.PathLike):
        with Path(image).open("rb") as stream:
            stream.read(1)
        return
    import PIL.Image

    if isinstance(image, np.ndarray):
        fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype != np.uint8 or not fits or not image.size:
            raise TypeError(
                f"an array of pixels is uint8 [H, W], [H, W, 3] or [H, W, 4], not {image.dtype} {list(image.shape)}"
            )
    elif not isinstance(image, PIL.Image.Image):
        raise TypeError(f"an image is a path, bytes, a PIL image or an array, not {type(image).__name__}")
    elif not all(image.size):
        raise TypeError(f"a PIL image of {image.size[0]} x {image.size[1]} has no pixels")
    else:
        image.load()  # which keeps the pixels: nothing is decoded twice


def several(images: Images) -> Images:
    """`images`; TypeError for a single one that Python would take apart, such as a path into its characters."""
    if isinstance(images, str | bytes | os.PathLike) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise TypeError("images come as a list: [image] for a single one")
    return images
