"""JPEG's own headers: which kind of coding, how many scans, and whether a file that was cut off is all there."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np
from PIL import Image

from amcl_serve.errors import UndecodableImage, UnsupportedImage

MAX_SCANS = 100  # of a progressive JPEG: encoders write about 10; a scan of a dozen bytes costs a pass over all pixels
END = b"\xff\xd9"
# Baseline, extended and progressive, by Huffman's or arithmetic coding. Asked to scale any other, such as a lossless
# one (SOF3), libjpeg writes beyond its buffers.
SCALABLE_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))

_COMMON = frozenset((0xC0, 0xC1, 0xC2))  # Huffman-coded
_COMPONENTS = frozenset((b"\1", b"\3", b"\4"))
_SCAN = re.compile(rb"\xff\xda\0[\x06\x08\x0a\x0c][\x01-\x04]")  # the start of one; what is compressed never holds it
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers SOF0 to SOF15
_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # markers without a length; 00 is none at all
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # what ends a scan's data
_STRIP = 1 << 20  # pixels that are compared at a time
_NEARLY = 0.01  # share of the pixels that may be missing at the end of a file, ...
_BLOCKS = 3 * 16 * 16  # ... or three blocks of the usual size, which a few bytes are in a small picture


def frame_of(data: bytes) -> int | None:
    """The marker of a JPEG's first frame header, found as libjpeg finds it; None where there is none before a scan."""
    return _frame(data)[0]


def is_common(data: bytes) -> bool:
    """Whether libjpeg's Huffman decoders for 8 bits read this file: SOF0 to SOF2 of 1, 3 or 4 components."""
    marker, at = _frame(data)
    fields = data[at + 2 : at + 8]  # bits, height, width, components
    return marker in _COMMON and fields[:1] == b"\x08" and fields[1:3] != b"\0\0" and fields[5:] in _COMPONENTS


def check_variant(data: bytes) -> None:
    """UnsupportedImage where the frame is of a coding that no common decoder reads."""
    marker, at = _frame(data)
    if marker is None:
        return
    bits, components = data[at + 2 : at + 3], data[at + 7 : at + 8]
    if marker not in SCALABLE_FRAMES and marker != 0xC3:
        raise UnsupportedImage(f"a JPEG of frame type SOF{marker - 0xC0} (hierarchical or lossless) is not supported")
    if bits not in (b"", b"\x08"):
        raise UnsupportedImage(f"a JPEG of {bits[0]} bits a sample is not supported, only one of 8")
    if data[at + 3 : at + 5] == b"\0\0":
        raise UnsupportedImage("a JPEG whose height follows its pixels (DNL) is not supported")
    if components and components not in _COMPONENTS:
        raise UnsupportedImage(f"a JPEG of {components[0]} components is not supported, only one of 1, 3 or 4")


def check_scans(image: Image.Image, data: bytes) -> None:
    """UndecodableImage for a progressive JPEG of too many scans."""
    if image.info.get("progressive") and len(_SCAN.findall(data)) > MAX_SCANS:
        raise UndecodableImage(f"the image is a JPEG of more than {MAX_SCANS} scans, which no encoder writes")


def _frame(data: bytes) -> tuple[int | None, int]:
    """The first frame's marker and where its length stands."""
    if not data.startswith(b"\xff\xd8"):
        return None, 0
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        while data[at : at + 1] == b"\xff":  # fill bytes
            at += 1
        marker = data[at] if at < len(data) else 0xD9
        at += 1
        if marker in _FRAMES:
            return marker, at
        if marker in (0xD9, 0xDA):  # the end, or compressed data
            return None, at
        if marker not in _BARE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return None, len(data)


class _Frame(NamedTuple):
    """A frame header: size in pixels, and the sampling factors (across, down) of each component."""

    width: int
    height: int
    factors: dict[int, tuple[int, int]]

    def units(self, components: list[int]) -> int:
        """Coded units of a scan of `components`: blocks where there is one, else groups of blocks."""
        across, down = (max(pair[axis] for pair in self.factors.values()) for axis in (0, 1))
        if len(components) > 1:
            return ceil(self.width / (8 * across)) * ceil(self.height / (8 * down))
        own = self.factors[components[0]]
        return ceil(ceil(self.width * own[0] / across) / 8) * ceil(ceil(self.height * own[1] / down) / 8)


def has_all_scans(data: bytes) -> bool:
    """Whether the file has a scan for all bits of each coefficient, and the last one all of its restart markers.

    Whether the last scan's data is whole up to the next restart, only decoding shows (`same_picture`).
    """
    frame: _Frame | None = None
    progressive, interval, restarts_missing = False, 0, False
    bits: dict[int, list[int]] = {}  # component -> the lowest bit that came, for each of its 64 coefficients
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        body = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        if marker in _FRAMES:
            progressive = marker in (0xC2, 0xCA)
            factors = {body[i]: (body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, 6 + 3 * body[5], 3)}
            frame = _Frame(int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"), factors)
            bits = {component: [99] * 64 for component in factors}
        elif marker == 0xDD:
            interval = int.from_bytes(body[:2], "big")
        at += 2 + len(body)
        if marker == 0xDA and frame is not None:
            components = [body[1 + 2 * i] for i in range(body[0])]
            first, last, low = (body[-3], body[-2], body[-1] & 15) if progressive else (0, 63, 0)
            for component in components:
                bits[component][first : last + 1] = [low] * (last + 1 - first)
            end = _MARKER.search(data, at)
            came = len(_RESTART.findall(data, at, end.start() if end else len(data)))
            restarts_missing = interval > 0 and came < ceil(frame.units(components) / interval) - 1
    return bool(bits) and not restarts_missing and not any(any(lowest) for lowest in bits.values())


@lru_cache(maxsize=1)
def _noise() -> bytes:
    return random.Random(0).randbytes(1 << 16).replace(b"\xff", b"\xa5")  # noqa: S311 - nothing secret


def noise(length: int) -> bytes:
    """Bytes that hold no marker, to stand where the end of a file of `length` bytes is missing."""
    return _noise() * (1 + length // (8 * len(_noise())))


def same_picture(one: Image.Image, other: Image.Image) -> bool:
    """Whether two decodings differ in no more pixels than a few last bytes stand for."""
    missing, rows = 0, max(1, _STRIP // one.width)
    for top in range(0, one.height, rows):
        box = (0, top, one.width, min(top + rows, one.height))
        differ = np.asarray(one.crop(box)) != np.asarray(other.crop(box))
        missing += int((differ.any(axis=-1) if differ.ndim == 3 else differ).sum())
    return missing <= max(_NEARLY * one.width * one.height, _BLOCKS)
