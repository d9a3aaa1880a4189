from __future__ import annotations

import contextlib
import random
import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin

from amcl_serve.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.pixels import SCALABLE_FRAMES, decode, frame_of
from tests import hostile, images

SPEC = InputSpec(size=16)
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def pixels(data: bytes, *, spec: InputSpec = SPEC, max_pixels: int = 1_000_000) -> npt.NDArray[np.int64]:
    found = decode(data, spec, max_pixels=max_pixels)
    assert found.shape == (spec.size, spec.size, 3)
    assert found.dtype == np.uint8
    return found.astype(np.int64)


def reference(image: Image.Image, size: int = 16) -> npt.NDArray[np.int64]:
    """The definition, literally: resize the whole picture, then cut out the centre (sizes that divide evenly)."""
    scale = size / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    whole = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(np.int64)
    top, left = (height - size) // 2, (width - size) // 2
    return whole[top : top + size, left : left + size]


def is_colour(found: npt.NDArray[np.int64], colour: tuple[int, int, int], tolerance: int = 0) -> bool:
    return bool((abs(found - np.array(colour)) <= tolerance).all())


@pytest.mark.parametrize(
    ("fmt", "mean_error"), [*((f, 1) for f in images.LOSSLESS), ("JPEG", 6), ("WEBP", 6), ("AVIF", 6), ("GIF", 16)]
)
def test_every_accepted_format_gives_the_picture(fmt: str, mean_error: float) -> None:
    found = pixels(images.photo(3, format=fmt))
    assert abs(found - reference(images.picture(3))).mean() <= mean_error
    assert abs(found - reference(images.picture(4))).mean() > 3 * mean_error


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, fmt: str) -> None:
    upright = pixels(images.oriented(5, 1, (40, 56), fmt))
    turned = pixels(images.oriented(5, orientation, (40, 56), fmt))
    if fmt in images.LOSSLESS:
        assert abs(turned - upright).max() <= 2  # the two passes of the resize, in another order
    else:
        assert abs(turned - upright).mean() <= 4


def test_orientation_of_an_odd_sized_picture_is_that_of_turning_it_first() -> None:
    stored = images.oriented(6, 6, (33, 20))
    assert abs(pixels(stored) - pixels(images.photo(6, (33, 20), "PNG"))).max() <= 2


def test_compressed_tiff_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    stored = images.picture(7, (32, 32)).rotate(180)
    data = images.save(stored, "TIFF", exif=exif, compression="tiff_lzw")
    assert abs(pixels(data) - reference(images.picture(7, (32, 32)))).max() <= 2


def test_a_damaged_exif_block_does_not_spoil_the_pixels() -> None:
    data = images.save(images.picture(8), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert (pixels(data) == reference(images.picture(8))).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    data = images.save(Image.new("RGB", size, (200, 100, 50)), "PNG")
    assert is_colour(pixels(data), (200, 100, 50))


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


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_first_frame_of_an_animation(fmt: str) -> None:
    assert is_colour(pixels(images.animated(fmt)), RED, 3)


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


def test_scaled_jpeg_decoding_is_close_and_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.photo(9, (640, 400))
    whole = pixels(data)
    seen: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def spy(self: Image.Image, *args: object, **options: object) -> Image.Image:
        seen.append(self.size)
        return resize(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", spy)
    scaled = pixels(data, spec=InputSpec(size=16, scaled_jpeg_decoding=True))
    assert seen == [(80, 50)]  # an eighth; the shorter side is at least twice 16
    assert abs(whole - scaled).mean() < 2


@pytest.mark.parametrize("side", [256, 333, 1600, 2048])
def test_a_lossless_jpeg_is_decoded_in_full(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaling one makes libjpeg write beyond its buffers, so it is not asked to."""
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", _forbidden)
    scaled = pixels(images.lossless_jpeg(side), spec=InputSpec(size=16, scaled_jpeg_decoding=True), max_pixels=10**7)
    assert (scaled == 128).all()


def _forbidden(*_: object) -> None:
    raise AssertionError("draft")


@pytest.mark.parametrize("marker", range(0xC0, 0xD0))
@pytest.mark.parametrize("before", ["", "ff", "00ffff", "ffe00004ffc0", "ff01ffd0", "fffe0003c3"])
def test_only_frames_that_libjpeg_can_scale_are_scaled(marker: int, before: str) -> None:
    frame = bytes([0xFF, marker, 0, 11, 8, 0, 16, 0, 16, 1, 1, 0x11, 0])
    # Whatever stands before it: fill bytes, an APP0 or a comment that looks like a frame, markers without a length.
    found = frame_of(b"\xff\xd8" + bytes.fromhex(before) + frame + b"\xff\xda")
    assert found == (None if marker in (0xC4, 0xC8, 0xCC) else marker)
    assert (found in SCALABLE_FRAMES) == (marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\xff", b"\xff\xd8\xff\xda\xff\xc0"]
)
def test_a_jpeg_without_a_frame_has_none(data: bytes) -> None:
    assert frame_of(data) is None


def test_same_result_as_pillows_own_orientation() -> None:
    with Image.open(BytesIO(images.oriented(2, 5, (48, 32)))) as image:
        expected = reference(ImageOps.exif_transpose(image))
    assert abs(pixels(images.oriented(2, 5, (48, 32))) - expected).max() <= 2


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
