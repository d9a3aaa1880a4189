"""Other networks' pixels: those of torchvision's Resize and CenterCrop, which timm's evaluation uses too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from amcl_serve.model.bundle import InputSpec, Interpolation
from amcl_serve.model.children.pool import shared
from amcl_serve.model.formats.reading import Wanted, shorter_side
from tests import images
from tests.amcl_serve.model.decoded import pixels

BICUBIC = InputSpec(size=32, interpolation="bicubic", crop=0.875)


@pytest.mark.parametrize("size", [(64, 64), (97, 60), (60, 97), (61, 200), (33, 40), (20, 17), (5, 400)])
@pytest.mark.parametrize("crop", [0.5, 0.7, 0.875, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_torchvisions(size: tuple[int, int], crop: float, interpolation: Interpolation) -> None:
    if (interpolation, crop) == ("bilinear", 1.0) and size != (64, 64):
        size = (40, 100)  # the centre is taken exactly: the same where no half pixel is rounded
    mode = v2.InterpolationMode(interpolation)
    whole = v2.Compose([v2.Resize(math.floor(32 / crop), mode, antialias=True), v2.CenterCrop(32)])
    expected = np.asarray(whole(images.picture(2, size)), dtype=np.int64)
    found = pixels(images.photo(2, size, "PNG"), spec=InputSpec(size=32, interpolation=interpolation, crop=crop))
    assert abs(found - expected).max() <= 1


def test_a_crop_of_one_size_in_another_means_just_that() -> None:
    assert [shorter_side(kept, kept / whole) for kept, whole in ((224, 232), (224, 256), (380, 403), (518, 518))] == [
        232,
        256,
        403,
        518,
    ]


def test_a_child_reads_as_this_process_does() -> None:
    wanted = Wanted(32, False, 10**6, False, "bicubic", 0.875)
    with shared().read(images.photo(3, (90, 61), "PNG"), wanted) as found:
        np.testing.assert_array_equal(np.asarray(found), pixels(images.photo(3, (90, 61), "PNG"), spec=BICUBIC))


def test_a_jpeg_is_decoded_as_large_as_the_resize_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.photo(9, (640, 400))
    whole, resize = pixels(data, spec=InputSpec(size=16, crop=0.25)), Image.Image.resize
    seen: list[tuple[int, int]] = []

    def spy(self: Image.Image, *args: object, **options: object) -> Image.Image:
        seen.append(self.size)
        return resize(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", spy)
    scaled = pixels(data, spec=InputSpec(size=16, crop=0.25, scaled_jpeg_decoding=True))
    assert seen == [(320, 200)]  # half; the shorter side is at least twice the 64 that it is resized to
    assert abs(whole - scaled).mean() < 3
