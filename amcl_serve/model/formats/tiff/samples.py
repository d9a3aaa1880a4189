"""The samples of a TIFF, a few rows at a time, put together from its strips, tiles and planes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.model.formats.tiff import blocks
from amcl_serve.model.formats.tiff.layout import CODED, Layout

Samples = npt.NDArray[np.generic]

_AT_ONCE = 4 << 20  # bytes that are understood at a time
_UNPACKED = 32 << 20  # bytes that are unpacked at a time, where blocks are smaller


def rows(data: bytes, found: Layout) -> Iterator[tuple[int, Samples]]:
    """(first row, samples [rows, W, C]) from top to bottom: C samples a pixel, in the machine's byte order."""
    strips = found.block[0] == found.width
    read = _strip_rows if strips else _tile_rows
    if not found.planes:
        yield from read(data, found, 0)
        return
    for parts in zip(*(read(data, found, plane) for plane in range(found.samples)), strict=True):
        yield parts[0][0], np.concatenate([part for _, part in parts], axis=2)


def _strip_rows(data: bytes, found: Layout, plane: int) -> Iterator[tuple[int, Samples]]:
    length = found.row_bytes
    down = -(-found.height // found.block[1])
    together = 1 if found.compression in CODED else max(1, _UNPACKED // (length * found.block[1]))
    for first in range(0, down, together):
        numbers = [plane * down + number for number in range(first, min(first + together, down))]
        top = first * found.block[1]
        height = min(len(numbers) * found.block[1], found.height - top)
        if found.compression in CODED:
            yield top, blocks.coded(data, found, numbers[0], height)
            continue
        image = blocks.unpacked(data, found, numbers, height)
        step = max(1, _AT_ONCE // length)
        for start in range(0, height, step):
            part = image.crop((0, start, image.width, min(start + step, height)))
            yield top + start, _understood(np.asarray(part), found)


def _tile_rows(data: bytes, found: Layout, plane: int) -> Iterator[tuple[int, Samples]]:
    width, height = found.block
    across, down = -(-found.width // width), -(-found.height // height)
    for row in range(down):
        first = (plane * down + row) * across
        numbers = range(first, first + across)
        if found.compression in CODED:
            joined = np.concatenate([blocks.coded(data, found, number, height) for number in numbers], axis=1)
        else:
            # The tiles of a row, one below the other: [across, height, width, C] -> [height, across * width, C].
            below = _understood(np.asarray(blocks.unpacked(data, found, numbers, across * height)), found)
            tiles = below.reshape(across, height, width, found.per_block).transpose(1, 0, 2, 3)
            joined = tiles.reshape(height, across * width, found.per_block)
        yield row * height, joined[: found.height - row * height, : found.width]


def _understood(raw: npt.NDArray[Any], found: Layout) -> Samples:
    """Bytes [rows, L] of blocks as samples [rows, width, C], the predictor undone."""
    n = found.block[0] * found.per_block
    values: npt.NDArray[Any]
    if raw.dtype == np.bool_:  # CCITT: one bit a pixel, told apart already
        values = raw.astype(np.uint8)
    elif found.predictor == 3:
        values = _from_byte_planes(raw, found, n)
    elif found.bits % 8 == 0:
        kind = found.kind if found.predictor == 1 else "u"
        dtype = np.dtype(f"{kind}{found.bits // 8}")
        values = np.ascontiguousarray(raw[:, : n * dtype.itemsize]).view(dtype.newbyteorder(found.order)).astype(dtype)
    else:
        values = _from_bits(raw, found.bits, n)
    values = values.reshape(len(raw), found.block[0], found.per_block)
    if found.predictor == 2:
        # Sums wrap, as the differences did; of floats, the differences were taken of their bits.
        values = np.cumsum(values, axis=1, dtype=values.dtype).view(f"{found.kind}{found.bits // 8}")
    return values


def _from_bits(raw: npt.NDArray[np.uint8], bits: int, n: int) -> Samples:
    """`n` samples of some bits each, from the highest bit on."""
    digits = np.unpackbits(raw, axis=1)[:, : n * bits].reshape(len(raw), n, bits)
    values: npt.NDArray[Any] = np.zeros((len(raw), n), np.uint16)
    for place in range(bits):
        values = values << 1 | digits[:, :, place]
    return values


def _from_byte_planes(raw: npt.NDArray[np.uint8], found: Layout, n: int) -> Samples:
    """The predictor of floats: all first bytes of a row, then all second ones, each less the one before it."""
    size = found.bits // 8
    sums = np.cumsum(raw.reshape(len(raw), -1, found.per_block), axis=1, dtype=np.uint8)
    planes = sums.reshape(len(raw), size, n).transpose(0, 2, 1)
    return np.ascontiguousarray(planes).view(f">f{size}").reshape(len(raw), n).astype(f"f{size}")
