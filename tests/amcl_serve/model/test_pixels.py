from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, ImageOps, JpegImagePlugin

from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.pixels import SCALABLE_FRAMES, frame_of
from tests import images
from tests.amcl_serve.model.decoded import RED, is_colour, pixels, reference


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


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_first_frame_of_an_animation(fmt: str) -> None:
    assert is_colour(pixels(images.animated(fmt)), RED, 3)


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
