"""Small images in memory, good, odd and bad, for tests that send bytes."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
LOSSLESS = ("PNG", "TIFF", "BMP")

_STORED = {  # EXIF orientation -> what turns an upright image into the one to store
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A smooth RGB picture of (width, height): 5 x 5 random colours, enlarged. Another seed looks quite different."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def save(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 - Pillow's word
    """The image as a file of `format`."""
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo(seed: int, size: tuple[int, int] = (48, 32), format: str = "JPEG") -> bytes:  # noqa: A002
    """`picture(seed, size)` as a file of `format`."""
    return save(picture(seed, size), format)


def oriented(seed: int, orientation: int, size: tuple[int, int] = (48, 32), format: str = "PNG") -> bytes:  # noqa: A002
    """`photo(seed, size, format)` stored turned, with the EXIF orientation (1 to 8) that turns it back."""
    image = picture(seed, size)
    if orientation in _STORED:
        image = image.transpose(_STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(image, format, exif=exif)


def truncated(format: str = "JPEG", keep: float = 0.6) -> bytes:  # noqa: A002
    """The first part of an image file, cut inside its pixels."""
    data = photo(1, (96, 64), format)
    return data[: int(len(data) * keep)]


def one_pixel(colour: tuple[int, int, int] = (200, 100, 50)) -> bytes:
    """A 1 x 1 PNG."""
    return save(Image.new("RGB", (1, 1), colour), "PNG")


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: bits a channel, PNG's colour type, and the rows with their filter bytes, uncompressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND")


def bomb_png(width: int = 20_000, height: int = 20_000) -> bytes:
    """A PNG of some seventy bytes whose header, valid in itself, promises width x height pixels."""
    return png(width, height, depth=8, colour=2, rows=b"\0" * 99)


def cmyk_jpeg(colour: tuple[int, int, int, int] = (0, 255, 255, 0)) -> bytes:
    """A CMYK JPEG of one colour; red unless told."""
    return save(Image.new("CMYK", (32, 32), colour), "JPEG", quality=95)


def grey16_png(value: int = 0x8000) -> bytes:
    """A 16-bit grey PNG of one value; middle grey unless told."""
    return save(Image.fromarray(np.full((32, 32), value, np.uint16)), "PNG")


def palette_transparent(format: str = "PNG") -> bytes:  # noqa: A002
    """A palette image, PNG or GIF: left half opaque blue, right half transparent (its hidden colour is green)."""
    image = Image.new("P", (32, 32), 0)
    image.putpalette([0, 0, 255, 0, 255, 0])
    image.paste(1, (16, 0, 32, 32))
    return save(image, format, transparency=1)


def animated(format: str = "GIF") -> bytes:  # noqa: A002
    """An animation (GIF, PNG, WEBP, AVIF or a two-page TIFF) whose first frame is red and whose second is blue."""
    first, second = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    return save(first, format, save_all=True, append_images=[second])


def lossless_jpeg(side: int) -> bytes:
    """A valid lossless JPEG (SOF3, 8 bits, grey, Huffman, predictor 1): every sample is 128, every difference 0."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    frame = struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0])
    table = bytes([0, 1, *[0] * 15, 0])  # one code of one bit: no difference
    ones = (1 << (-(side * side) % 8)) - 1  # padding
    scan = bytes(side * side // 8) + (bytes([ones]) if side * side % 8 else b"")
    parts = (segment(0xC3, frame), segment(0xC4, table), segment(0xDA, bytes([1, 1, 0, 1, 0, 0])))
    return b"\xff\xd8" + b"".join(parts) + scan + b"\xff\xd9"


def _chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
