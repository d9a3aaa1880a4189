from __future__ import annotations

import contextlib
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from amcl_serve.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from amcl_serve.model.pixels import decode
from tests import hostile, images
from tests.amcl_serve.model.decoded import SPEC, is_colour, pixels


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html>",
        b"https://example.org/a.jpg",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"P6 1 1 255\n\0\0\0",
        b"\0",
    ],
)
def test_other_things_are_unsupported_and_the_answer_names_what_is(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, GIF, TIFF, BMP and AVIF"):
        pixels(data)


def test_zero_bytes() -> None:
    with pytest.raises(EmptyImage):
        pixels(b"")


@pytest.mark.parametrize("fmt", images.FORMATS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncated(fmt: str, keep: float) -> None:
    with pytest.raises(UndecodableImage):
        pixels(images.truncated(fmt, keep))


@pytest.mark.parametrize("fmt", images.FORMATS)
def test_cut_inside_the_header(fmt: str) -> None:
    with pytest.raises(UndecodableImage):
        pixels(images.photo(1, format=fmt)[:20])


def test_the_limit_is_on_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.photo(1, format="BMP")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge, match="48 x 32 pixels; at most 1535"):
        decode(data, SPEC, max_pixels=48 * 32 - 1)


def test_the_limit_itself_is_accepted() -> None:
    pixels(images.photo(1), max_pixels=48 * 32)


@pytest.mark.parametrize("side", [20_000, 10_000, 2_000])  # over Pillow's error, its warning, and only ours
def test_bomb(side: int) -> None:
    with pytest.raises(ImageTooLarge):
        pixels(images.bomb_png(side, side))


def test_bomb_over_pillows_limit_when_ours_is_higher() -> None:
    with pytest.raises(ImageTooLarge):
        pixels(images.bomb_png(), max_pixels=10**12)


def test_gif_frame_larger_than_its_screen() -> None:
    data = bytearray(images.photo(1, format="GIF"))
    at = data.index(b"\x2c" + struct.pack("<HHHH", 0, 0, 48, 32))
    data[at + 5 : at + 9] = struct.pack("<HH", 9_000, 9_000)
    with pytest.raises(ImageTooLarge):
        pixels(bytes(data))


SAMPLES = [
    *(images.photo(1, (20, 14), fmt) for fmt in images.FORMATS),
    images.cmyk_jpeg(),
    images.grey16_png(),
    images.palette_transparent("PNG"),
    images.palette_transparent("GIF"),
    images.animated("GIF"),
    images.animated("WEBP"),
    images.oriented(1, 6, format="JPEG"),
    images.save(images.picture(1, (20, 14)), "TIFF", compression="tiff_lzw"),
    images.save(Image.new("F", (8, 8), 0.5), "TIFF"),
]


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_no_other_error_escapes_from_damaged_files(sample: int) -> None:
    rng = random.Random(sample)
    for _ in range(60):
        data = bytearray(SAMPLES[sample])
        for _ in range(rng.choice((1, 2, 8, 40))):
            # Half of the flips go to the first bytes, where headers are.
            at = rng.randrange(min(len(data), 100) if rng.random() < 0.5 else len(data))
            data[at] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        with contextlib.suppress(EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage):
            pixels(bytes(data), max_pixels=100_000)


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"RIFF\0\0\0\0WEBPVP8 "]


@pytest.mark.filterwarnings("ignore")
@given(tail=st.binary(max_size=200), head=st.sampled_from(HEADS))
def test_no_other_error_escapes_from_any_bytes(tail: bytes, head: bytes) -> None:
    with contextlib.suppress(EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage):
        decode(head + tail, SPEC, max_pixels=100_000)


def test_a_tile_is_as_large_as_an_image_may_be() -> None:
    """libtiff unpacks whole tiles: one of 60,000 x 60,000 would take gigabytes for an image of 16 x 16."""
    with pytest.raises(ImageTooLarge, match="60000 x 60000"):
        pixels(hostile.tiff(16, 16, tile=60_000))
    rows = zlib.compress(b"\x80" * 64 * 64)
    assert is_colour(pixels(hostile.tiff(16, 16, tile=64, packed=rows)), (128, 128, 128))


def test_scans_of_a_jpeg_are_counted() -> None:
    with pytest.raises(UndecodableImage, match="more than 100 scans"):
        pixels(hostile.scans_jpeg(100, (32, 32)))
    ten = hostile.scans_jpeg(10, (32, 32))
    assert is_colour(pixels(ten + b"\xff\xda" * 200), (128, 128, 128))  # what follows, a film for one, is no scan
