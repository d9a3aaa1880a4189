"""A TIFF's samples as colours of 8 bits: scaled by their depth or range, laid on white, by what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.model.formats.tiff.layout import CMYK, JPEG, LAB, PALETTE, WHITE_IS_ZERO, YCBCR, Layout
from amcl_serve.model.formats.tiff.samples import Samples

Bytes = npt.NDArray[np.uint8]
Scale = tuple[float, float]  # what becomes 0, and what 255

_FLOATS, _WIDE = (1.0, 255.0, 65535.0), (255.0, 65535.0)
_RANGES = {("i", 8): (127.0,), ("i", 16): (255.0, 32767.0), ("f", 16): _FLOATS, ("f", 32): _FLOATS, ("f", 64): _FLOATS}
_TO_SRGB = np.array([[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
                     [0.0719453, -0.2289914, 1.4052427]])  # linear, of XYZ under D50  # fmt: skip
_D50 = np.array([0.96422, 1.0, 0.82521])


def range_of(read: Callable[[], Iterator[tuple[int, Samples]]], found: Layout) -> Scale:
    """What samples become 0 and 255. Unsigned ones of up to 16 bits: their first and last number.

    Of others no header states the range: taken as 0..1 (floats), 0..255, 0..65535 (but 0..32767, and of signed bytes
    0..127), whichever first holds every value, or as the whole range of unsigned 32 or 64 bits if half of it is passed;
    else stretched from the least to the greatest value. `read` gives all rows anew.
    """
    if found.kind == "u" and found.bits <= 16:
        return 0.0, float((1 << found.bits) - 1)
    low, high = np.inf, -np.inf
    for _, samples in read():
        values = _finite(samples[:, :, : found.colours])
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    ranges = _RANGES.get((found.kind, found.bits), _WIDE)
    top = 2.0**found.bits - 1
    if found.kind == "u" and high >= top / 2:
        return 0.0, top
    return next(((0.0, top) for top in ranges if low >= 0 and high <= top), (low, high))


def convert(samples: Samples, found: Layout, scale: Scale, palette: Samples | None, *, in_cmyk: bool) -> Bytes:
    """Samples [rows, W, C] as RGB uint8 [rows, W, 3]; `in_cmyk`: as CMYK [rows, W, 4]."""
    colour = samples[:, :, : found.colours]
    if found.photometric == PALETTE:
        assert palette is not None
        return _from_palette(colour[:, :, 0], palette)
    if found.photometric == LAB:
        return _from_lab(colour, found.bits)
    values = _scaled(colour, scale)
    if found.photometric == WHITE_IS_ZERO:
        values = 255 - values
    if found.photometric == CMYK:
        if in_cmyk:
            return values
        values = np.asarray(Image.fromarray(values, "CMYK").convert("RGB"))
    elif found.photometric == YCBCR and found.compression != JPEG:  # whose decoder has done it
        values = np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    if found.alpha is not None:
        alpha = _scaled(samples[:, :, found.alpha : found.alpha + 1], scale)
        values = _on_white(values, alpha, found.associated)
    return np.ascontiguousarray(values)


def _scaled(samples: Samples, scale: Scale) -> Bytes:
    """To 0..255, rounded."""
    low, high = scale
    if samples.dtype == np.uint8 and scale == (0.0, 255.0):
        return np.asarray(samples, np.uint8)
    if samples.dtype in (np.uint8, np.uint16):
        top = np.uint32(high)
        return ((samples.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    # Halves, because the difference of two extremes can overflow; 1 where there is nothing to stretch.
    span = high / 2 - low / 2 or 1.0
    scaled = (_finite(samples) * 0.5 - low / 2) / span * 255
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _finite(samples: Samples) -> npt.NDArray[np.float64]:
    return np.nan_to_num(samples.astype(np.float64))


def _on_white(colour: Bytes, alpha: Bytes, associated: bool) -> Bytes:
    white = 255 - alpha.astype(np.uint32)
    if associated:
        return np.asarray(np.minimum(colour + white, 255), np.uint8)
    return ((colour * alpha.astype(np.uint32) + 127) // 255 + white).astype(np.uint8)


def _from_palette(indices: npt.NDArray[Any], palette: Samples) -> Bytes:
    """By a table of 16-bit reds, greens and blues; writers that knew no better put 8-bit ones there."""
    table = palette.reshape(3, -1).T.astype(np.uint32)
    if table.max() > 255:
        table = (table * 255 + 32767) // 65535
    found: Bytes = table.astype(np.uint8)[indices]
    return found


def _from_lab(samples: Samples, bits: int) -> Bytes:
    """CIE L*a*b* under D50: L* unsigned over its range, a* and b* signed."""
    signed = samples[:, :, 1:].astype(f"i{bits // 8}").astype(np.float64)
    l_star = samples[:, :, 0].astype(np.float64) * (100 / ((1 << bits) - 1))
    a_star, b_star = signed[:, :, 0] / (1 << (bits - 8)), signed[:, :, 1] / (1 << (bits - 8))
    y = (l_star + 16) / 116
    f = np.stack([y + a_star / 500, y, y - b_star / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D50
    linear = (xyz @ _TO_SRGB.T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), np.uint8)
