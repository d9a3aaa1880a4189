"""Colour profiles (ICC): which of them change a picture, and their conversion to sRGB by LittleCMS, in a child."""

from __future__ import annotations

import struct
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}  # a profile's colours -> the mode that they are given in
_CMYK, _GREY = frozenset(("CMYK",)), frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "F"))
_COLORANTS = {  # of sRGB, adapted to D50
    b"rXYZ": (0.4360, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_NEAR = 0.003  # in X, Y and Z: profiles round them, and some are adapted from a slightly other white
_STEPS = 2 / 255  # that a curve may be off sRGB's
_SIGNATURE = slice(36, 40)


def matters(profile: bytes | None, mode: str) -> bool:
    """Whether a picture of `mode` has to be converted by `profile`: not if it is sRGB, damaged or of other colours."""
    if not profile or profile[_SIGNATURE] != b"acsp":
        return False
    colours = _MODES.get(profile[16:20])
    if colours is None or (colours == "CMYK") != (mode in _CMYK) or (colours == "L") != (mode in _GREY):
        return False
    return not _is_srgb(profile)


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An RGB or CMYK image, converted by a profile that `matters`; by one that cannot be used, merely RGB."""
    source = image.getchannel(0) if profile[16:20] == b"GRAY" else image
    try:
        converted = ImageCms.applyTransform(source, _transform(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        converted = None
    if converted is not None:
        return converted
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), _MODES[profile[16:20]], "RGB"
    )


@lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """By its numbers, not by its name: the colorants and the curve of each channel; of a grey one the curve."""
    try:
        tags = _tags(profile)
        if profile[16:20] == b"GRAY":
            return _is_srgb_curve(tags[b"kTRC"])
        if b"A2B0" in tags or profile[16:20] != b"RGB ":
            return False
        for name, wanted in _COLORANTS.items():
            found = [value / 65536 for value in struct.unpack_from(">3i", tags[name], 8)]
            if any(abs(a - b) > _NEAR for a, b in zip(found, wanted, strict=True)):
                return False
        return all(_is_srgb_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    except (KeyError, IndexError, struct.error, ValueError, ZeroDivisionError, OverflowError):
        return False


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    found = {}
    for number in range(min(count, 100)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        found[name] = profile[offset : offset + size]
    return found


def _is_srgb_curve(tag: bytes) -> bool:
    return all(abs(_encoded(_curve(tag, step / 16)) - step / 16) <= _STEPS for step in range(17))


def _encoded(linear: float) -> float:
    """sRGB's value, 0 to 1, of linear light."""
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * float(max(linear, 0.0) ** (1 / 2.4)) - 0.055


def _curve(tag: bytes, value: float) -> float:
    """Linear light of a channel's `value`, by a `curv` or `para` tag; ValueError for others."""
    kind, number = struct.unpack_from(">4s4xI", tag)
    if kind == b"curv":
        if number == 0:
            return value
        if number == 1:
            return float(value ** (struct.unpack_from(">H", tag, 12)[0] / 256))
        place = value * (number - 1)
        low = min(int(place), number - 2)
        below, above = struct.unpack_from(">HH", tag, 12 + 2 * low)
        return float(below + (above - below) * (place - low)) / 65535
    function = number >> 16
    if kind != b"para" or function not in (0, 3):  # a power; a power above a line, as sRGB's is defined
        raise ValueError("another kind of curve")
    gamma, *rest = (part / 65536 for part in struct.unpack_from(">i" if function == 0 else ">5i", tag, 12))
    if not rest:
        return float(value**gamma)
    a, b, c, d = rest
    return float((a * value + b) ** gamma) if value >= d else c * value
