"""Photographs reduced once to what crops need, and read from a cache after that.

The same pixels come whether the cache is cold, warm, full or off: an image is always the reduced one.
"""

from __future__ import annotations

import hashlib
import math
from typing import Protocol, runtime_checkable

import PIL
from PIL import Image

from amcl_serve.model.pixels import upright
from training.augment import Augmentation, strengths
from training.data.cache import Cache
from training.data.sources import Images

_NARROWEST = 3 / 4  # ratio of a crop's sides, as `training.augment.draw` has it
_LEAST = 128  # pixels; no set that can be kept on the device is reduced, so that both ways show the same
_MOST = 4096


@runtime_checkable
class Encoded(Protocol):
    """A set whose images are files, or parts of files."""

    def encoded(self, index: int) -> bytes:
        """The bytes of image `index`; OSError."""
        ...

    def stamp(self, index: int) -> bytes:
        """Its place, size and times, without reading it: another when it has been changed; OSError."""
        ...


def shorter_side(augmentation: Augmentation) -> int:
    """Pixels of an image's shorter side from which no crop is enlarged; 0: that would be more than is worth it.

    A crop of the share m of the area whose sides have the ratio 3 : 4 is at least √(3/4 · m) of the shorter side long.
    """
    smallest = min(each.crop or 1.0 for each in strengths(augmentation.config))
    side = math.ceil(augmentation.size / math.sqrt(_NARROWEST * smallest))
    return max(_LEAST, side) if side <= _MOST else 0


class Reduced:
    """Images of a set, their shorter sides at most `side` long; larger ones are kept in the cache, if there is one."""

    def __init__(self, images: Encoded, side: int, cache: Cache | None = None) -> None:
        self.images, self.side, self.cache = images, side, cache
        self._salt = f"{side} pixels, Pillow {PIL.__version__}\0".encode()

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB; OSError or AmclError when it cannot be read."""
        if self.cache is None:
            return self.decode(index)
        stamp = self._digest(self.images.stamp(index))
        if (found := self.cache.find(stamp)) is not None:
            return found
        data = self.images.encoded(index)
        key = self._digest(data)
        if (found := self.cache.find_content(key, stamp)) is not None:
            return found
        image = upright(data, side=self.side)
        if min(image.size) >= self.side:  # smaller ones are quick to decode
            self.cache.keep(key, stamp, image)
        return image

    def decode(self, index: int) -> Image.Image:
        """The same without the cache."""
        return upright(self.images.encoded(index), side=self.side)

    def is_kept(self, index: int) -> bool:
        """Whether the cache has image `index` by its stamp; OSError."""
        return self.cache is not None and self.cache.find(self._digest(self.images.stamp(index))) is not None

    def _digest(self, data: bytes) -> bytes:
        digest = hashlib.blake2b(self._salt, digest_size=16)
        digest.update(data)
        return digest.digest()


def reduced(images: Images, augmentation: Augmentation, cache: Cache | None) -> Reduced | None:
    """`images` reduced for these crops; None where that saves nothing: images in memory, or crops of huge images."""
    side = shorter_side(augmentation)
    return Reduced(images, side, cache) if side and isinstance(images, Encoded) else None
