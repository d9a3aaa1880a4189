"""Colour profiles: what they mean is what is seen, and sRGB's own costs nothing."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from amcl_serve.model.formats import profiles
from amcl_serve.model.pixels import upright
from tests import images, tiffs
from tests.variants import GREY, PICTURE, RGB, profile, swapped, with_profile

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")


def tag(name: bytes, gamma: float) -> bytes:
    """A grey profile of a power curve."""
    curve = struct.pack(">4s4xIHxx", b"curv", 1, round(gamma * 256))
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    parts = [(b"kTRC", curve), (b"wtpt", white), (b"desc", text), (b"cprt", b"text" + bytes(4) + b"none\0\0\0\0")]
    at, table, body = 128 + 4 + 12 * len(parts), b"", b""
    for key, part in parts:
        table += struct.pack(">4sII", key, at + len(body), len(part))
        body += part
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s12x4s4x", size, b"lcms", 0x02100000, b"mntr", name, b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


@pytest.mark.parametrize("fmt", FORMATS)
def test_colours_are_those_that_the_profile_means(fmt: str) -> None:
    found = np.asarray(upright(with_profile(fmt, profile("swapped")))).astype(int)
    assert np.abs(found - np.asarray(swapped()).astype(int)).mean() < (8 if fmt == "AVIF" else 2)


@pytest.mark.parametrize("fmt", FORMATS)
def test_srgb_and_damaged_profiles_change_nothing(fmt: str) -> None:
    plain = np.asarray(upright(with_profile(fmt, b"")))
    for icc in (profile("sRGB"), b"no profile", profile("swapped")[:200], images.photo(1)):
        assert (np.asarray(upright(with_profile(fmt, icc))) == plain).all()


def test_only_a_profile_that_changes_something_needs_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amcl_serve.model.children.pool.Child", lambda: pytest.fail("a child"))
    for fmt in ("JPEG", "PNG", "WEBP"):
        upright(with_profile(fmt, profile("sRGB")))


def test_srgb_is_known_by_its_numbers() -> None:
    srgb = profile("sRGB")
    assert not profiles.matters(srgb, "RGB")
    assert profiles.matters(profile("swapped"), "RGB")
    linear = srgb.replace(b"para\0\0\0\0\0\3", b"para\0\0\0\0\0\0")  # a power alone, that of sRGB's upper part
    assert linear != srgb
    assert profiles.matters(linear, "RGB")
    assert not profiles.matters(profile("swapped"), "CMYK")
    assert not profiles.matters(None, "RGB")
    assert not profiles.matters(b"", "RGB")


def test_grey_of_another_curve_is_converted() -> None:
    data = images.save(PICTURE.convert("L"), "PNG", icc_profile=tag(b"GRAY", 1.0))
    found = np.asarray(upright(data)).astype(float)[:, :, 0] / 255
    light = GREY / 255
    wanted = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found - wanted).max() < 3 / 255


def test_what_is_transparent_stays_white() -> None:
    image = PICTURE.convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    data = images.save(image, "PNG", icc_profile=profile("swapped"))
    assert (np.asarray(upright(data)) >= 254).all()


def test_a_profile_in_a_tiff_of_another_byte_order() -> None:
    icc = list(profile("swapped"))
    data = tiffs.tiff(RGB.astype(np.uint16) * 257, bits=16, photometric=2, order=">", tags={34675: (7, icc)})
    assert np.abs(np.asarray(upright(data)).astype(int) - np.asarray(swapped()).astype(int)).mean() < 2


def test_the_conversion_is_littlecms_own() -> None:
    source = ImageCms.ImageCmsProfile(BytesIO(profile("swapped")))
    wanted = ImageCms.profileToProfile(PICTURE, source, ImageCms.createProfile("sRGB"))
    assert wanted is not None
    found = upright(with_profile("PNG", profile("swapped")))
    assert np.abs(np.asarray(found).astype(int) - np.asarray(wanted).astype(int)).max() <= 1
