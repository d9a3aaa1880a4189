from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests import images
from tests.amcl_serve.model.decoded import BLUE, RED, WHITE, is_colour, pixels


def test_cmyk_jpeg_is_red() -> None:
    assert is_colour(pixels(images.cmyk_jpeg()), RED, 3)


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (256, 1), (0x8000, 128), (65535, 255)])
def test_sixteen_bit_grey_is_scaled(value: int, grey: int) -> None:
    assert is_colour(pixels(images.grey16_png(value)), (grey,) * 3)
    big_endian = Image.fromarray(np.full((8, 8), value, ">u2"))
    assert is_colour(pixels(images.save(big_endian, "TIFF")), (grey,) * 3)


def test_sixteen_bit_colour_png() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 0x8000, 0) * 8 for _ in range(8))
    assert is_colour(pixels(images.png(8, 8, depth=16, colour=2, rows=rows)), (255, 128, 0))


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.full((8, 8), 0.5, np.float32), 128),
        (np.full((8, 8), 100.0, np.float32), 100),
        (np.full((8, 8), 257.0 * 77, np.float32), 77),
        (np.full((8, 8), np.nan, np.float32), 0),
        (np.full((8, 8), -3.0, np.float32), 0),
        (np.full((8, 8), 100, np.int32), 100),
        (np.full((8, 8), 257 * 77, np.int32), 77),
    ],
)
def test_wide_tiff_modes(values: npt.NDArray[np.generic], grey: int) -> None:
    with np.errstate(all="raise"):
        assert is_colour(pixels(images.save(Image.fromarray(values), "TIFF")), (grey,) * 3)


def test_nan_spoils_its_own_pixels_only() -> None:
    values = np.full((16, 16), 0.5, np.float32)
    values[:, 8:] = np.nan
    found = pixels(images.save(Image.fromarray(values), "TIFF"))
    assert is_colour(found[:, :8], (128,) * 3)
    assert is_colour(found[:, 8:], (0,) * 3)


def test_twelve_bit_tiff() -> None:
    """Eight by eight of 0x800, two values in three bytes, in one strip behind the directory."""
    strip = b"\x80\x08\x00" * 32
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 8, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + strip
    assert is_colour(pixels(data), (128,) * 3)


@pytest.mark.parametrize("low", [-1.0, -3e38])
def test_float_tiff_beyond_every_range_is_stretched(low: float) -> None:
    values = np.full((16, 16), low, np.float32)
    values[:, 8:] = -low
    found = pixels(images.save(Image.fromarray(values), "TIFF"))
    assert (found[:, :8] == 0).all()
    assert (found[:, 8:] == 255).all()


@pytest.mark.parametrize("fmt", ["PNG", "GIF"])
def test_transparent_palette_is_laid_on_white(fmt: str) -> None:
    found = pixels(images.palette_transparent(fmt))
    assert is_colour(found[:, :7], BLUE)
    assert is_colour(found[:, 9:], WHITE)


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (0, 0, 255, 255), BLUE),
        ("RGBA", (0, 255, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 0), WHITE),
        ("LA", (40, 255), (40, 40, 40)),
        ("L", 40, (40, 40, 40)),
        ("1", 1, WHITE),
    ],
)
def test_modes(mode: str, colour: int | tuple[int, ...], seen: tuple[int, int, int]) -> None:
    assert is_colour(pixels(images.save(Image.new(mode, (32, 32), colour), "PNG")), seen, 1)


def test_rgb_png_with_a_transparent_colour() -> None:
    assert is_colour(pixels(images.save(Image.new("RGB", (8, 8), "lime"), "PNG", transparency=(0, 255, 0))), WHITE)
