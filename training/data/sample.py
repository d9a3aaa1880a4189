"""A few images of a set, read before a run begins: what they cost, and whether a cache is worth its while."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from amcl_serve.errors import AmclError
from training.data.reading import read
from training.data.reduced import Reduced
from training.data.sources import Images

_IMAGES, _SECONDS = 16, 3.0  # at most


@dataclass(frozen=True)
class Sample:
    """Some images as they are cropped, and the seconds of one core that one takes: `cold` decoded, `warm` cached.

    `large` is the share of the images that are reduced; of all images the cache has `kept`, and `keeps` after an epoch.
    """

    images: list[Image.Image]
    cold: float
    warm: float
    large: float = 0.0
    kept: float = 0.0
    keeps: float = 0.0


def sample(images: Images, source: Images | Reduced) -> Sample | None:
    """Evenly spaced images of the set, read through `source`; None if none of them can be read."""
    began = time.perf_counter()
    found: list[Image.Image] = []
    cold, kept, tried = 0.0, 0, 0
    for index in np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).round().astype(int).tolist():
        start = time.perf_counter()
        if start - began > _SECONDS and found:
            break
        image = _decoded(source, index) if isinstance(source, Reduced) else read(source, index)
        cold += time.perf_counter() - start
        tried += 1
        if image is not None:
            found.append(image)
            kept += isinstance(source, Reduced) and source.is_kept(index)
    if not found:
        return None
    cold /= tried
    large = [image for image in found if isinstance(source, Reduced) and min(image.size) >= source.side]
    share = len(large) / len(found)
    if not large or not isinstance(source, Reduced) or source.cache is None:
        return Sample(found, cold, cold, share)
    size = float(np.mean([3 * image.width * image.height for image in large]))
    keeps = min(share, kept / tried + source.cache.room() / (size * len(images)))
    return Sample(found, cold, _copying(large), share, kept / tried, keeps)


def prepared(source: Reduced, found: Sample | None) -> Reduced:
    """`source` for worker processes: without its cache where none of the sample is large, so that no look is in vain.

    ValueError for a cache that cannot be used.
    """
    if source.cache is None:
        return source
    if found is None or not found.large:
        return Reduced(source.images, source.side)
    source.cache.check()
    source.cache.close()  # before workers fork
    return source


def _decoded(source: Reduced, index: int) -> Image.Image | None:
    try:
        return source.decode(index)
    except (OSError, AmclError):
        return None


def _copying(images: list[Image.Image]) -> float:
    """Seconds to make an image of its pixels, which is most of what the cache does."""
    pixels = [(image.size, image.tobytes()) for image in images]
    began = time.perf_counter()
    for size, rgb in pixels:
        Image.frombytes("RGB", size, rgb)
    return (time.perf_counter() - began) / len(pixels)
