"""Archives of drawn images, as somebody uploads them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image


def drawing(seed: int, noise: int = 0, size: int = 16) -> bytes:
    """A PNG of random colours in four quarters; `noise` makes others of the same colours, but for a little."""
    colours = np.random.default_rng(seed).integers(30, 226, (2, 2, 3))
    pixels = colours.repeat(size // 2, axis=0).repeat(size // 2, axis=1)
    if noise:
        pixels = pixels + np.random.default_rng([seed, noise]).integers(-30, 31, pixels.shape)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip of files by their names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def images(count: int) -> bytes:
    """A zip of so many images in one folder."""
    return packed({f"{number:05d}.png": drawing(number) for number in range(count)})


def pairs(count: int, *, damaged: int = 0, missing: int = 0) -> bytes:
    """A zip with pairs.csv: of each of `count` drawings one pair with its like and one with another; of the first
    `damaged` one file is no image, of the first `missing` it is not there.
    """
    files = {f"{number}-{copy}.png": drawing(number, copy) for number in range(count) for copy in (1, 2)}
    rows = ["a,b,same"]
    for number in range(count):
        rows += [f"{number}-1.png,{number}-2.png,1", f"{number}-1.png,{(number + 1) % count}-2.png,0"]
    for number in range(damaged):
        files[f"{number}-1.png"] = b"not an image"
    for number in range(missing):
        del files[f"{number}-1.png"]
    return packed({"pairs.csv": "\n".join(rows).encode(), **files})
