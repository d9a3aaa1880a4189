"""Whole files of every kind that is decoded, and what damages them: the material of fuzzing."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache
from itertools import islice

import numpy as np
from PIL import Image

from tests import hostile, images, tiffs

_LARGEST = 1 << 16  # bytes of a damaged file
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def seeds() -> dict[str, bytes]:
    """Good files by name; the first word is the kind."""
    picture = images.picture(5, (60, 44))
    found = {f"{name.partition('-')[0]} {name}": data for name, data in hostile.whole_files().items()}
    for mode in ("L", "CMYK"):
        found[f"jpeg {mode}"] = images.save(picture.convert(mode), "JPEG")
    for sampling in ("4:4:4", "4:2:2", "4:1:1"):
        found[f"jpeg {sampling}"] = images.save(picture, "JPEG", subsampling=sampling, optimize=True)
    found["jpeg restarts"] = images.save(picture, "JPEG", restart_marker_blocks=2)
    found["jpeg lossless"] = images.lossless_jpeg(40)
    found["jpeg progressive grey"] = images.save(picture.convert("L"), "JPEG", progressive=True)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        source = picture.convert("L") if mode == "I;16" else picture
        found[f"png {mode}"] = images.save(source.convert(mode), "PNG")
    rows = b"".join(b"\4" + bytes(np.arange(60 * 6, dtype=np.uint8)) for _ in range(8))
    found["png 16-bit"] = images.png(60, 8, depth=16, colour=2, rows=rows)
    found["png key"] = images.save(picture.convert("L"), "PNG", transparency=80)
    found["png palette key"] = images.palette_transparent("PNG")
    found["png profile"] = images.save(picture, "PNG", icc_profile=hostile_profile())
    found["jpeg profile"] = images.save(picture, "JPEG", icc_profile=hostile_profile())
    found["webp alpha"] = images.save(picture.convert("RGBA"), "WEBP")
    found["webp exact"] = images.save(picture.convert("RGBA"), "WEBP", lossless=True, exact=True)
    for kind in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        found[f"{kind.lower()} animated"] = images.animated(kind)
    found["gif key"] = images.palette_transparent("GIF")
    for mode in ("1", "L", "P", "RGBA"):
        found[f"bmp {mode}"] = images.save(picture.convert(mode), "BMP")
    found["avif lossless"] = images.save(picture, "AVIF", quality=100)
    for compression in ("group3", "group4", "tiff_ccitt"):
        found[f"tiff {compression}"] = images.save(picture.convert("1"), "TIFF", compression=compression)
    for number, cell in enumerate(islice(tiffs.grid(), 0, None, 97)):
        found[f"tiff cell {number}"] = cell.file()[0]
    found |= _heic(picture)
    return found


def hostile_profile() -> bytes:
    """A profile that has to be converted: sRGB's with two colours exchanged."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")


def _heic(picture: Image.Image) -> dict[str, bytes]:
    try:
        import pillow_heif
    except ImportError:
        return {}
    heif = pillow_heif.from_pillow(picture)
    from io import BytesIO

    stream = BytesIO()
    heif.save(stream, quality=80)
    return {"heif heic": stream.getvalue()}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` with some of its bits, bytes and numbers changed, parts lost, doubled or moved; a PNG's checks mended."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not found:
            break
        # Half of the changes go to the first bytes, where headers are.
        at = rng.randrange(min(len(found), 120) if rng.random() < 0.5 else len(found))
        what = rng.randrange(6)
        if what == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            found[at] = rng.randrange(256)
        elif what == 2:
            code = rng.choice(("<H", ">H", "<I", ">I"))
            size = struct.calcsize(code)
            found[at : at + size] = struct.pack(code, rng.choice(_NUMBERS) & ((1 << 8 * size) - 1))
        elif what == 3:
            del found[at : at + rng.choice((1, 4, 64))]
        elif what == 4:
            found[at:at] = found[at : at + rng.choice((1, 12, 300))]
        elif rng.random() < 0.3:
            del found[at:]
        else:
            other = rng.randrange(len(found))
            found[at : at + 16] = found[other : other + 16]
    del found[_LARGEST:]
    if data.startswith(b"\x89PNG") and rng.random() < 0.8:
        _mend(found)
    return bytes(found)


def _mend(png: bytearray) -> None:
    """New check sums, without which a damaged chunk would hardly be read."""
    at = 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            return
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
