"""BMP: the variants that are read, and an alpha that means nothing."""

from __future__ import annotations

import struct

from PIL import Image

from amcl_serve.errors import UnsupportedImage

_COMPRESSIONS = {4: "JPEG", 5: "PNG", 6: "BITFIELDS with alpha", 11: "CMYK", 12: "CMYK RLE8", 13: "CMYK RLE4"}
_BITFIELDS: dict[int, set[tuple[int, ...]]] = {  # bits -> the masks (red, green, blue, alpha) that Pillow knows
    32: {
        (0xFF0000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0),
        (0xFF000000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        (0, 0, 0, 0),
    },
    24: {(0xFF0000, 0xFF00, 0xFF)},
    16: {(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)},
}


def check_variant(data: bytes) -> None:
    """UnsupportedImage for a depth, compression or layout of bits that is not read; a cut header is left to Pillow."""
    if len(data) < 18:
        return
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12 and len(data) >= 26:
        _check_depth(struct.unpack_from("<H", data, 24)[0])
    if size < 40 or len(data) < 70:
        return
    bits, compression = struct.unpack_from("<HI", data, 28)
    _check_depth(bits)
    if compression > 3:
        name = _COMPRESSIONS.get(compression, str(compression))
        raise UnsupportedImage(f"a BMP of compression {name} is not supported")
    if compression == 3:
        colours = [int(mask) for mask in struct.unpack_from("<III", data, 54)]
        alpha = int.from_bytes(data[66:70], "little") if size >= 56 else 0
        masks = (*colours, alpha) if bits == 32 or alpha else tuple(colours)
        if masks not in _BITFIELDS.get(bits, set()):
            raise UnsupportedImage(f"a BMP of {bits} bits in this layout of colours is not supported")


def _check_depth(bits: int) -> None:
    if bits not in (1, 4, 8, 16, 24, 32):
        raise UnsupportedImage(f"a BMP of {bits} bits a pixel is not supported")


def opaque_if_clear(image: Image.Image) -> None:
    """Alpha that is 0 everywhere was never meant: the picture is opaque, as browsers show it."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image.putalpha(255)
