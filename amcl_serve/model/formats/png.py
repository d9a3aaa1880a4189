"""PNG's chunks: what is skipped unread, the colour profile, and the transparent colour that Pillow misreads."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.errors import UnsupportedImage
from amcl_serve.model.formats.colour import in_strips

_HEAD = struct.Struct(">I4s")  # of a chunk: its length and kind
_LOOKED_AT = frozenset((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"tRNS", b"CgBI"))
_LARGEST_PROFILE = 4 << 20  # bytes of a profile, unpacked; printers' have one or two million
_GREY, _RGB = 0, 2  # PNG's colour types that may have a transparent colour


class Transparency(NamedTuple):
    """The samples that are transparent, as they are stored: of a grey picture one, of a 16-bit RGB three."""

    depth: int
    key: tuple[int, ...]

    @property
    def is_costly(self) -> bool:
        """Whether the pixels have to be decoded twice for it."""
        return len(self.key) == 3


def prepared(data: bytes) -> tuple[bytes, bytes | None, Transparency | None]:
    """The file without its texts and profile; the profile; and the transparency that Pillow would misread.

    Image generators write workflows of megabytes as texts, which Pillow unpacks, or refuses from one megabyte on. What
    is damaged in the chunks that are left out harms no pixel. UnsupportedImage for an iPhone's own kind of PNG.
    """
    kept: list[bytes] = []
    profile: bytes | None = None
    transparency: Transparency | None = None
    at = start = 8
    last = len(data) - 12
    while at <= last:
        length, kind = _HEAD.unpack_from(data, at)
        end = at + 12 + length
        if kind in _LOOKED_AT and end <= len(data):
            drop = kind != b"tRNS"
            if kind == b"CgBI":
                raise UnsupportedImage("a PNG as Xcode packs it for iPhones (CgBI) is not supported")
            if kind == b"iCCP":
                profile = _unpacked(data[at + 8 : end - 4])
            elif kind == b"tRNS":
                transparency = _misread(data, data[at + 8 : end - 4])
                drop = transparency is not None
            if drop:
                kept.append(data[start:at])
                start = end
        elif kind == b"IEND":
            break
        at = end
    if kept:
        data = b"".join((data[:8], *kept, data[start:]))
    return data, profile, transparency


def _unpacked(body: bytes) -> bytes | None:
    """The profile in an iCCP chunk; None if it is damaged or too large to be one."""
    packed = body[body.find(b"\0") + 2 :]
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed, _LARGEST_PROFILE)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def _misread(data: bytes, body: bytes) -> Transparency | None:
    """Pillow compares a grey key with samples that it has scaled, and 16-bit ones not at all."""
    depth, colour = data[24], data[25]
    samples = {_GREY: 1, _RGB: 3}.get(colour, 0)
    if not samples or len(body) < 2 * samples or (colour == _RGB and depth != 16):
        return None
    top = (1 << depth) - 1
    return Transparency(depth, tuple(int.from_bytes(body[2 * i : 2 * i + 2], "big") & top for i in range(samples)))


def on_white(image: Image.Image, data: bytes, transparency: Transparency) -> Image.Image:
    """A loaded image as RGB, white where it has the transparent colour. `data` is the file that it came from."""
    if transparency.is_costly:
        return _deep_on_white(image, data, transparency.key)
    depth, (key,) = transparency
    shown = key if depth in (8, 16) else key * 255 // ((1 << depth) - 1)

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip.convert("L") if strip.mode == "1" else strip)
        clear = values == shown
        grey = (values.astype(np.uint32) * 255 + 32767) // 65535 if depth == 16 else values
        return Image.fromarray(np.where(clear, 255, grey).astype(np.uint8)).convert("RGB")

    return in_strips(image, convert)


def _deep_on_white(image: Image.Image, data: bytes, key: tuple[int, ...]) -> Image.Image:
    """16-bit RGB: Pillow keeps the high bytes of samples, so the low ones are decoded by themselves."""
    with Image.open(BytesIO(data), formats=("PNG",)) as low:
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]  # takes the other byte for the higher one
        low.load()
    clear = _equal(image, [value >> 8 for value in key]) & _equal(low, [value & 255 for value in key])
    found = image.copy()
    found.paste((255, 255, 255), mask=Image.fromarray(clear))
    return found


def _equal(image: Image.Image, colour: list[int]) -> npt.NDArray[np.bool_]:
    found = np.ones((image.height, image.width), np.bool_)
    for band, value in enumerate(colour):
        found &= np.asarray(image.getchannel(band)) == value
    return found
