"""A TIFF's strips and tiles, unpacked. The decoders are given a file of our own making, never the one that came.

Pillow reads the common layouts of samples right, others (compressed big-endian floats, separate planes, white as zero)
wrong without a word. To libtiff each block is therefore shown as rows of 8-bit grey, which no layout can spoil, and
what is compressed as JPEG or WebP is a picture that the decoders for these read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from amcl_serve.errors import UndecodableImage, UnsupportedImage
from amcl_serve.model.formats.jpeg import END
from amcl_serve.model.formats.tiff.layout import CCITT, CMYK, JPEG, NONE, RGB, YCBCR, Layout

_REVERSED = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
_START = END[:1] + b"\xd8"
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"  # and a byte: 1 where colours are YCbCr, 0 where they are as they are
_SHORT, _LONG = 3, 4  # TIFF's types


def unpacked(data: bytes, found: Layout, numbers: Sequence[int], height: int) -> Image.Image:
    """Blocks, one below the other, `height` rows in all, as grey of one byte a pixel; CCITT as pixels of one bit."""
    if found.compression == NONE:
        return _as_they_are(data, found, numbers, height)
    packed = [_block(data, found, number) for number in numbers]
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # these are bytes; pixels have been counted
    try:
        image = TiffImagePlugin.TiffImageFile(BytesIO(_shown(packed, found, height)))
        image.load()
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return image


def coded(data: bytes, found: Layout, number: int, height: int) -> npt.NDArray[np.uint8]:
    """A block that is a JPEG or WebP, as samples [height, width, C]; YCbCr comes as RGB."""
    block = _block(data, found, number)
    kind = "JPEG" if found.compression == JPEG else "WEBP"
    if kind == "JPEG":
        block = _whole_jpeg(block, found)
    with Image.open(BytesIO(block), formats=(kind,)) as image:
        # The last strip may be as high as the others.
        if image.width != found.block[0] or not height <= image.height <= found.block[1]:
            raise UndecodableImage("the image is damaged: a strip or tile of a TIFF has another size")
        image.load()
        samples = np.asarray(image)
    samples = samples.reshape(*samples.shape[:2], -1)[:height]
    if kind == "WEBP" and samples.shape[2] == 3 and found.per_block == 4:  # WebP leaves an alpha out that is opaque
        samples = np.concatenate([samples, np.full_like(samples[:, :, :1], 255)], axis=2)
    if found.photometric == CMYK and not found.planes:
        samples = 255 - samples  # Pillow takes every JPEG of CMYK for one of Adobe's, with inverted ink
    if samples.shape[2] != found.per_block:
        raise UndecodableImage("the image is damaged: a strip or tile of a TIFF has other colours")
    return samples


def _block(data: bytes, found: Layout, number: int) -> bytes:
    return data[found.offsets[number] : found.offsets[number] + found.counts[number]]


def _as_they_are(data: bytes, found: Layout, numbers: Sequence[int], height: int) -> Image.Image:
    length = found.row_bytes
    blocks = []
    for position, number in enumerate(numbers):
        size = length * min(found.block[1], height - position * found.block[1])
        blocks.append(data[found.offsets[number] : found.offsets[number] + size])
        if len(blocks[-1]) < size:
            raise UndecodableImage("the image is cut off: a strip or tile of a TIFF is missing")
    image = Image.frombytes("L", (length, height), b"".join(blocks))
    return image if found.fill_order == 1 else image.point(_REVERSED)


def _shown(blocks: list[bytes], found: Layout, height: int) -> bytes:
    """A TIFF whose strips are `blocks`, all of the same number of rows but for the last one."""
    bilevel = found.compression in CCITT
    n = len(blocks)
    tags = {
        256: (_LONG, found.block[0] if bilevel else found.row_bytes),
        257: (_LONG, height),
        258: (_SHORT, 1 if bilevel else 8),
        259: (_SHORT, found.compression),
        262: (_SHORT, 1),
        266: (_SHORT, found.fill_order),
        273: (_LONG, 0),
        277: (_SHORT, 1),
        278: (_LONG, found.block[1]),
        279: (_LONG, len(blocks[0])),
        **({292: (_LONG, found.fax_options)} if found.compression == 3 else {}),
    }
    lists = 8 + 2 + 12 * len(tags) + 4
    place = lists + (8 * n if n > 1 else 0)
    offsets = []
    for block in blocks:
        offsets.append(place)
        place += len(block)
    tags[273] = (_LONG, lists if n > 1 else offsets[0])
    tags[279] = (_LONG, lists + 4 * n if n > 1 else len(blocks[0]))
    table = b"".join(
        struct.pack("<HHII", tag, kind, n if tag in (273, 279) else 1, value) for tag, (kind, value) in tags.items()
    )
    places = struct.pack(f"<{2 * n}I", *offsets, *map(len, blocks)) if n > 1 else b""
    return b"".join((struct.pack("<2sHIH", b"II", 42, 8, len(tags)), table, bytes(4), places, *blocks))


def _whole_jpeg(block: bytes, found: Layout) -> bytes:
    """A block with the tables that all blocks share, and with word of its colours, which the TIFF alone has."""
    if not block.startswith(_START):
        raise UndecodableImage("the image is damaged: a strip or tile of a TIFF is no JPEG")
    block = _without_word_of_colours(block) if found.photometric != CMYK else block
    tables = found.jpeg_tables
    shared = tables[2:-2] if tables.startswith(_START) and tables.endswith(END) else b""
    colours = b""
    if found.photometric in (RGB, YCBCR) and not found.planes:
        colours = _ADOBE + bytes([found.photometric == YCBCR])
    elif found.photometric == CMYK and b"Adobe" in block[:2048] + shared:
        raise UnsupportedImage("a TIFF of CMYK in JPEGs that Adobe marked is not supported: its ink may be inverted")
    return b"".join((_START, colours, shared, block[2:]))


def _without_word_of_colours(block: bytes) -> bytes:
    """A JPEG without the segments APP0 (JFIF) and APP14 (Adobe): what the TIFF says of its colours holds."""
    kept, at = [_START], 2
    while block[at : at + 1] == b"\xff" and block[at + 1 : at + 2] not in (b"\xda", b""):
        end = at + 2 + int.from_bytes(block[at + 2 : at + 4], "big")
        if block[at + 1] not in (0xE0, 0xEE):
            kept.append(block[at:end])
        at = max(end, at + 4)
    return b"".join((*kept, block[at:]))
