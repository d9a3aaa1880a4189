"""Every variant of every format: the picture, or a refusal that names the variant; TIFF over its whole grid."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BytesIO
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from amcl_serve.errors import UnsupportedImage
from amcl_serve.model.formats.files import kind_of
from amcl_serve.model.formats.reading import Wanted, read
from amcl_serve.model.pixels import upright
from tests import images, tiffs
from tests.amcl_serve.model.decoded import at_once
from tests.tiffs import Cell, grid
from tests.variants import Variant, heic, variants

WHOLE = Wanted(0, False, 10**6, False)


@pytest.mark.parametrize("variant", list(variants()), ids=lambda v: f"{v.format} {v.name}")
def test_the_picture_or_a_refusal_that_names_the_variant(variant: Variant) -> None:
    if variant.shown is None:
        with pytest.raises(UnsupportedImage, match="is not supported"):
            upright(variant.data)
        return
    found = np.asarray(upright(variant.data)).astype(np.int64)
    assert found.shape == variant.shown.shape
    assert np.abs(found - variant.shown).mean() <= variant.near
    if variant.near < 1:
        assert np.abs(found - variant.shown).max() <= 1


def check(cells: Iterable[Cell]) -> tuple[int, int]:
    """Numbers of cells that are right and that are refused; none is anything else."""
    right = refused = 0
    said: dict[tuple[str, str], bool] = {}
    for cell in cells:
        data, _, shown = cell.file()
        try:
            found = tiff_pixels(data)
        except UnsupportedImage:
            refused += 1
            accepted = False
        else:
            assert np.abs(found - shown).max() <= 2, cell
            right += 1
            accepted = True
        assert said.setdefault((cell.colours, cell.depth), accepted) == accepted, cell  # whatever else it is
    return right, refused


def tiff_pixels(data: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(read(data, "TIFF", WHOLE, at_once, in_child=True)).astype(np.int64)


def test_every_seventh_cell_of_tiffs_grid_is_right_or_refused() -> None:
    right, refused = check(islice(grid(), 0, None, 7))
    assert right > 900
    assert refused > 700


@pytest.mark.slow
def test_every_cell_of_tiffs_grid_is_right_or_refused() -> None:
    right, refused = check(grid())
    assert (right, refused) == (6616, 5328)


def test_the_files_of_the_grid_are_what_another_library_reads() -> None:
    for cell in islice(grid(), 0, None, 41):
        data, samples, _ = cell.file()
        wanted = samples.transpose(2, 0, 1) if cell.planar else samples
        found = tifffile.imread(BytesIO(data))
        assert np.array_equal(np.squeeze(found), np.squeeze(wanted).astype(found.dtype)), cell


GREY = tiffs.grey_values().astype(np.uint8)
COLOUR = tiffs.colour_values().astype(np.uint8)
INK = np.concatenate([255 - COLOUR, np.full_like(COLOUR[:, :, :1], 40)], axis=2)
ALPHA = np.broadcast_to(np.linspace(0, 255, tiffs.WIDTH).astype(np.uint8)[:, None], (*GREY.shape, 1))
ON_WHITE = (COLOUR.astype(int) * ALPHA + 255 * (255 - ALPHA.astype(int))) // 255
CODED = {
    "JPEG, grey": ("minisblack", "jpeg", GREY, GREY[:, :, None]),
    "JPEG, white is zero": ("miniswhite", "jpeg", 255 - GREY, GREY[:, :, None]),
    "JPEG, RGB": ("rgb", "jpeg", COLOUR, COLOUR),
    "JPEG, CMYK": ("separated", "jpeg", INK, COLOUR.astype(int) * 215 // 255),
    "WebP, RGB": ("rgb", "webp", COLOUR, COLOUR),
    "WebP, RGB with alpha": ("rgb", "webp", np.concatenate([COLOUR, ALPHA], axis=2), ON_WHITE),
}
ARGUMENTS = {"jpeg": {"level": 98}, "webp": {"lossless": True}}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("name", CODED)
def test_tiff_of_blocks_that_are_pictures(name: str, order: str, tile: tuple[int, int] | None, big: bool) -> None:
    photometric, compression, samples, shown = CODED[name]
    options = {"outcolorspace": "rgb"} if name == "JPEG, RGB" else {}
    stream = BytesIO()
    tifffile.imwrite(
        stream, samples, photometric=photometric, compression=compression, byteorder=order, tile=tile, bigtiff=big,
        rowsperstrip=None if tile else 8, compressionargs={**ARGUMENTS[compression], **options},
        extrasamples=["unassalpha"] if "alpha" in name else None,
    )  # fmt: skip
    assert np.abs(tiff_pixels(stream.getvalue()) - shown).mean() < 2


def test_what_a_tiff_says_of_its_colours_holds_for_the_jpegs_in_it() -> None:
    """Whatever the JPEGs say themselves: here they claim to be JFIF's YCbCr, and hold RGB as it is."""
    picture = images.picture(5, (32, 16))
    as_it_is = images.save(picture, "JPEG", quality=98, keep_rgb=True)
    assert b"Adobe" in as_it_is or b"JFIF" not in as_it_is
    jfif = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    samples = np.asarray(picture)
    for block in (as_it_is, as_it_is[:2] + jfif + as_it_is[2:]):
        data = tiffs.tiff(samples, bits=8, photometric=2, compression=7, strip=16, blocks=[block])
        assert np.abs(tiff_pixels(data) - samples).mean() < 2


def test_tiff_of_ycbcr_in_jpegs_is_what_another_library_reads() -> None:
    smooth = np.asarray(np.mgrid[:48, :64].sum(0) * 2, np.uint8)
    for sampling in ((1, 1), (2, 1), (2, 2)):
        stream = BytesIO()
        samples = np.stack([smooth, smooth // 2 + 60, smooth[::-1] // 3 + 80], axis=-1)
        tifffile.imwrite(stream, samples, photometric="ycbcr", compression="jpeg", subsampling=sampling)
        wanted = tifffile.imread(BytesIO(stream.getvalue())).astype(int)
        assert np.abs(tiff_pixels(stream.getvalue()) - wanted).mean() < 1


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({262: (3, [32803])}, "photometric 32803 .raw of a camera."),
        ({262: (3, [4])}, "transparency mask"),
        ({259: (3, [34712])}, "JPEG 2000"),
        ({259: (3, [6])}, "old-style JPEG"),
        ({339: (3, [6])}, "complex"),
        ({258: (3, [24])}, "24-bit"),
        ({317: (3, [2])}, "predictor 2"),
    ],
)
def test_a_tiff_that_is_not_read_is_refused_by_name(tags: dict[int, tuple[int, list[int]]], named: str) -> None:
    data = tiffs.tiff(GREY[:, :, None], bits=8, photometric=1, tags=tags)
    with pytest.raises(UnsupportedImage, match=named):
        tiff_pixels(data)


def test_heic_without_its_extra_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedImage, match=r"pip install amcl-serve\[heif\]"):
        read(data, "HEIF", WHOLE, at_once, in_child=True)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x14ftypavis\0\0\0\0msf1", "AVIF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"MM\0+\0\x08\0\0", "TIFF"),
    ],
)
def test_what_a_file_is_by_its_first_bytes(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize("head", [b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", b"\0\0\0\x10ftypmif1\0\0\0\0", b"%PDF-1.7"])
def test_a_film_is_no_image(head: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="accepted"):
        kind_of(head)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_of_lab(order: str, bits: int) -> None:
    lab = np.zeros((8, 8, 3), np.int64)
    # sRGB's red under D50: L* 54.29, a* 80.81, b* 69.89.
    lab[:, :4, 0] = round(54.29 * ((1 << bits) - 1) / 100)
    lab[:, :4, 1:] = (np.array([80.81, 69.89]) * (1 << bits - 8)).round()
    lab[:, 4:, 0] = (1 << bits) - 1  # white
    found = tiff_pixels(tiffs.tiff(lab.astype(f"u{bits // 8}"), bits=bits, photometric=8, order=order))
    assert np.abs(found[:, :4] - (255, 0, 0)).max() <= 3
    assert np.abs(found[:, 4:] - 255).max() <= 1


def test_signed_and_wide_samples_beyond_every_range_are_stretched() -> None:
    for dtype, low, high in ((np.int16, -30000, 30000), (np.int32, -5, 900_000), (np.uint32, 7, 900_000)):
        values = np.full((16, 16, 1), low, dtype)
        values[:, 8:] = high
        found = tiff_pixels(tiffs.tiff(values, bits=8 * values.itemsize, photometric=1))
        assert (found[:, :8] == 0).all()
        assert (found[:, 8:] == 255).all()
