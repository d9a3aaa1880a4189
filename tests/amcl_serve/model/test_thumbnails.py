from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from amcl_serve.errors import ImageTooLarge, UndecodableImage
from amcl_serve.model.thumbnails import MAX_BYTES, SIDE, thumbnail
from tests.images import oriented, photo, picture, save, truncated

PIXELS = 1 << 24


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (128, 96)),
        ((480, 640), (96, 128)),
        ((48, 32), (48, 32)),
        ((1, 5000), (1, 128)),
        ((128, 1), (128, 1)),
    ],
)
def test_its_longer_side_has_at_most_128_pixels(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert opened(thumbnail(photo(1, size, "PNG"), max_pixels=PIXELS)).size == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "AVIF"])
def test_it_looks_like_the_image(kind: str) -> None:
    found = opened(thumbnail(photo(3, (512, 256), kind), max_pixels=PIXELS)).convert("RGB")
    expected = picture(3, (512, 256)).resize(found.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(found, float) - np.asarray(expected, float)).mean() < 8


def test_it_is_upright() -> None:
    found = opened(thumbnail(oriented(3, 6, (256, 128)), max_pixels=PIXELS)).convert("RGB")
    expected = picture(3, (256, 128)).resize(found.size, Image.Resampling.BOX)
    assert found.size == (128, 64)
    assert np.abs(np.asarray(found, float) - np.asarray(expected, float)).mean() < 8


def test_noise_has_at_most_8_kib() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    data = thumbnail(save(Image.fromarray(noise), "PNG"), max_pixels=PIXELS)
    assert 1024 < len(data) <= MAX_BYTES


def test_its_errors_are_those_of_the_image() -> None:
    with pytest.raises(UndecodableImage):
        thumbnail(truncated("JPEG"), max_pixels=PIXELS)
    with pytest.raises(ImageTooLarge):
        thumbnail(photo(1, (64, 64)), max_pixels=64)
