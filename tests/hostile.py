"""Hostile and odd image files, made from a seed: what strangers send, and what a server may say to each of them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import Image

from tests import images
from tests.images import oriented, photo, picture, png, save

OK = "ok"
DAMAGED, FOREIGN, LARGE, EMPTY = "undecodable_image", "unsupported_image", "image_too_large", "empty_image"
UNREADABLE = frozenset({DAMAGED, FOREIGN})
ANYTHING = frozenset({OK, DAMAGED, FOREIGN, LARGE})  # of one image; never an error of the request or the server
MAX_PIXELS = 1_000_000  # the limit that the corpus is made for
MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "TIFF": "image/tiff"}
MIME |= {"BMP": "image/bmp", "AVIF": "image/avif"}


@dataclass(frozen=True)
class Hostile:
    """A file: its kind and name, its bytes, what its sender calls it, and what may be said of it: codes, or "ok"."""

    kind: str
    name: str
    data: bytes
    allowed: frozenset[str]
    mime: str = "application/octet-stream"


def corpus(seed: int = 0, *, flips: int = 12) -> list[Hostile]:
    """The files, the same for the same seed; `flips` of each of the 12 sorts of whole file have damaged bits."""
    rng = random.Random(seed)
    found = [*_truncations(), *_flips(rng, flips), *_bombs(), *_nothing(rng), *_odd_but_whole(), *_oriented()]
    found += [*_wrong_mime(), *_polyglots(), *_foreign()]
    assert len({(one.kind, one.name) for one in found}) == len(found)
    return found


@cache
def whole_files() -> dict[str, bytes]:
    """One good file of each accepted format and of its variants that are read by other code."""
    image = picture(11, (60, 44))
    return {
        "jpeg": save(image, "JPEG"),
        "jpeg-progressive": save(image, "JPEG", progressive=True),
        "png": save(image, "PNG"),
        "webp": save(image, "WEBP"),
        "webp-lossless": save(image, "WEBP", lossless=True),
        "gif": save(image, "GIF"),
        "tiff": save(image, "TIFF"),
        "tiff-lzw": save(image, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": save(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": save(image, "TIFF", compression="jpeg"),
        "bmp": save(image, "BMP"),
        "avif": save(image, "AVIF"),
    }


def _truncations() -> Iterator[Hostile]:
    """Cut after the first bytes, in the header, in the pixels, and just before the end (where it may do no harm)."""
    for name, data in whole_files().items():
        for keep in (1, 2, 3, 4, 7, 8, 12, 16, 24, 40):
            yield Hostile("truncated", f"{name}-{keep}", data[:keep], UNREADABLE)
        for share in (0.25, 0.5, 0.75):
            yield Hostile("truncated", f"{name}-{share}", data[: int(len(data) * share)], UNREADABLE)
        for missing in (16, 4, 1):
            yield Hostile("truncated", f"{name}-less-{missing}", data[:-missing], UNREADABLE | {OK})


def _flips(rng: random.Random, times: int) -> Iterator[Hostile]:
    for name, whole in whole_files().items():
        for turn in range(times):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 2, 8, 40))):
                # Half of the flips go to the first bytes, where headers are.
                at = rng.randrange(min(len(data), 100) if rng.random() < 0.5 else len(data))
                data[at] ^= 1 << rng.randrange(8)
            yield Hostile("flipped", f"{name}-{turn}", bytes(data), ANYTHING)


def _bombs() -> Iterator[Hostile]:
    """Small files whose headers promise many pixels, or whose metadata unpacks to many bytes."""
    large, damaged = frozenset({LARGE}), frozenset({DAMAGED})
    for width, height in ((65_535, 65_535), (20_000, 20_000), (10_000, 10_000), (1001, 1000), (2**31 - 1, 2**31 - 1)):
        allowed = large if width < 2**31 - 1 else large | damaged
        yield Hostile("bomb", f"png-{width}x{height}", images.bomb_png(width, height), allowed)
    yield Hostile("bomb", "png-at-the-limit", images.bomb_png(1000, 1000), damaged)
    files = whole_files()
    for name in ("jpeg", "jpeg-progressive"):
        size = files[name].index(b"\0\x2c\0\x3c")  # 44 x 60, in the frame's header
        yield Hostile("bomb", name, files[name][:size] + b"\xff\xff\xff\xff" + files[name][size + 4 :], large)
    yield Hostile("bomb", "jpeg-of-5000-scans", scans_jpeg(5000), damaged)
    yield Hostile("bomb", "gif", files["gif"][:6] + b"\xff\xff\xff\xff" + files["gif"][10:], large)
    yield Hostile("bomb", "bmp", files["bmp"][:18] + struct.pack("<ii", 60_000, 60_000) + files["bmp"][26:], large)
    yield Hostile("bomb", "tiff", tiff(60_000, 60_000), large)
    yield Hostile("bomb", "tiff-of-one-huge-tile", tiff(16, 16, tile=60_000), large)
    yield Hostile("bomb", "tiff-of-two-billion-strips", tiff(16, 16, strips=2**31 - 1), ANYTHING)
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\xff\xfe" * 2
    yield Hostile(
        "bomb", "webp-canvas", b"RIFF" + struct.pack("<I", 22) + b"WEBP" + canvas, frozenset({LARGE, DAMAGED})
    )
    ispe = files["avif"].index(b"ispe") + 8
    for width, height, allowed in ((60_000, 60_000, large | damaged), (4, 4, ANYTHING)):  # the frame itself is 60 x 44
        patched = files["avif"][:ispe] + struct.pack(">II", width, height) + files["avif"][ispe + 8 :]
        yield Hostile("bomb", f"avif-{width}", patched, allowed)
    zeros = zlib.compress(b"\0" * 50_000_000, 9)
    for chunk, body in ((b"iCCP", b"icc\0\0" + zeros), (b"zTXt", b"text\0\0" + zeros)):
        data = save(picture(3), "PNG")
        yield Hostile("bomb", f"png-{chunk.decode()}", data[:33] + _chunk(chunk, body) + data[33:], ANYTHING)
    yield Hostile("bomb", "png-of-zeros", _chunked_png(1000, 1000), frozenset({OK}))


def _nothing(rng: random.Random) -> Iterator[Hostile]:
    yield Hostile("nothing", "zero-bytes", b"", frozenset({EMPTY}), "image/jpeg")
    yield Hostile("nothing", "one-byte", b"\xff", UNREADABLE)
    for size in (16, 1000, 1_000_000):
        yield Hostile("nothing", f"zeros-{size}", b"\0" * size, UNREADABLE)
        yield Hostile("nothing", f"noise-{size}", rng.randbytes(size), UNREADABLE)
    for name, head in (
        ("jpeg", b"\xff\xd8\xff\xe0"),
        ("png", b"\x89PNG\r\n\x1a\n"),
        ("gif", b"GIF89a"),
        ("bmp", b"BM"),
    ):
        yield Hostile("nothing", f"noise-after-{name}", head + rng.randbytes(2000), ANYTHING)


def _odd_but_whole() -> Iterator[Hostile]:
    """Files that few cameras write and that are nevertheless images."""
    for name, data in _odd_files():
        yield Hostile("odd", name, data, frozenset({OK}))


def _odd_files() -> Iterator[tuple[str, bytes]]:
    for name, data in whole_files().items():
        yield f"whole-{name}", data
    for form in images.FORMATS:
        yield f"1x1-{form}", save(Image.new("RGB", (1, 1), (200, 100, 50)), form)
        yield f"tall-{form}", save(Image.new("RGB", (1, 4000), (9, 100, 50)), form)
        yield f"wide-{form}", save(Image.new("RGB", (4000, 3), (9, 100, 250)), form)
    yield "widest-png", save(Image.new("L", (MAX_PIXELS, 1), 7), "PNG")
    yield "cmyk-jpeg", images.cmyk_jpeg()
    yield "lossless-jpeg", images.lossless_jpeg(900)
    yield "cmyk-tiff", save(Image.new("CMYK", (32, 32), (9, 60, 200, 0)), "TIFF")
    yield "lab-tiff", save(Image.new("LAB", (32, 32), (90, 60, 200)), "TIFF")
    yield "16-bit-grey-png", images.grey16_png()
    yield "16-bit-rgb-png", png(2, 2, depth=16, colour=2, rows=(b"\0" + b"\x12\x34" * 6) * 2)
    yield "16-bit-rgba-png", png(2, 2, depth=16, colour=6, rows=(b"\0" + b"\x12\x34" * 8) * 2)
    yield "16-bit-tiff", save(Image.fromarray(np.full((32, 32), 40_000, np.uint16)), "TIFF")
    for mode, value in (("I", -(2**31)), ("F", float("nan")), ("F", 1e38)):
        yield f"{mode}-{value}-tiff", save(Image.new(mode, (8, 8), value), "TIFF")
    for depth in (1, 2, 4):
        yield f"{depth}-bit-grey-png", png(8, 2, depth=depth, colour=0, rows=(b"\0" + b"\xa5" * depth) * 2)
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield f"{mode}-png", save(Image.new(mode, (20, 20)), "PNG")
    for mode in ("1", "L", "P"):
        yield f"{mode}-bmp", save(picture(4).convert(mode), "BMP")
    for form in ("PNG", "GIF"):
        yield f"palette-{form}", images.palette_transparent(form)
    for form in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        yield f"animated-{form}", images.animated(form)
    frames = [Image.new("RGB", (24, 24), (i, 255 - i, 3 * i % 256)) for i in range(100)]
    yield "100-frames-gif", save(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _oriented() -> Iterator[Hostile]:
    """EXIF of all eight orientations, of numbers that are none, and EXIF that is not readable at all."""
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        for orientation in range(1, 9):
            data = oriented(21, orientation, format=form)
            yield Hostile("exif", f"{form}-{orientation}", data, frozenset({OK}), MIME[form])
    for number in (0, 9, 65_535):
        yield Hostile("exif", f"no-orientation-{number}", oriented(21, number, format="JPEG"), frozenset({OK}))
    for name, block in (
        ("cut", b"Exif\0\0II*\0"),
        ("loop", b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0"),
        ("text", b"Exif\0\0hello"),
    ):
        yield Hostile("exif", f"block-{name}", save(picture(21), "JPEG", exif=block), frozenset({OK}))


def _wrong_mime() -> Iterator[Hostile]:
    for form, mime in zip(images.FORMATS, (*list(MIME.values())[1:], MIME["JPEG"]), strict=True):
        yield Hostile("mime", f"{form}-as-{mime}", photo(31, format=form), frozenset({OK}), mime)
    for mime in ("image/svg+xml", "image/x-nonsense", "image/*", "application/octet-stream; charset=utf-8"):
        yield Hostile("mime", f"png-as-{mime}", photo(32, format="PNG"), frozenset({OK}), mime)
    yield Hostile("mime", "html-as-png", b"<!doctype html><title>x</title>", frozenset({FOREIGN}), "image/png")


def _polyglots() -> Iterator[Hostile]:
    """Files that are an image to one reader and something else to another."""
    stream = BytesIO()
    with ZipFile(stream, "w") as archive:
        archive.writestr(ZipInfo("x.html"), "<script>alert(1)</script>")
    script, page = b"<script>alert(1)</script>", b"<!doctype html><img src=x onerror=alert(1)>"
    for name in ("jpeg", "png", "gif", "webp", "bmp"):
        whole = whole_files()[name]
        for other, tail in (
            ("zip", stream.getvalue()),
            ("script", script),
            ("itself", whole),
            ("a-megabyte", b"\0" * 1_000_000),
        ):
            yield Hostile("polyglot", f"{name}-then-{other}", whole + tail, ANYTHING)
        yield Hostile("polyglot", f"page-then-{name}", page + whole, UNREADABLE)
        yield Hostile(
            "polyglot", f"pdf-around-{name}", b"%PDF-1.4\n1 0 obj stream\n" + whole + b"\nendstream", UNREADABLE
        )
    yield Hostile("polyglot", "gif-and-javascript", b"GIF89a/*" + whole_files()["gif"][8:] + b"*/=alert(1)", ANYTHING)
    yield Hostile("polyglot", "jpeg-with-page", save(picture(5), "JPEG", comment=page), frozenset({OK}))


def _foreign() -> Iterator[Hostile]:
    """What is no image here, some of it image formats that Pillow knows and that stay closed."""
    entity = '<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY x SYSTEM "file:///etc/passwd">]>'
    texts = {
        "svg": '<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "svg-with-entities": f'<?xml version="1.0"?>{entity}<svg><text>&b;&x;</text></svg>',
        "html": "<html><body><img src='a.png'></body></html>",
        "url": "https://example.org/a.jpg",
        "path": "/etc/passwd",
        "json": '{"image": "x"}',
        "eps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
        "ppm": "P6 1 1 255\nabc",
        "xbm": "#define x_width 8\n#define x_height 1\nstatic char x_bits[] = {0};",
        "pdf": "%PDF-1.7\n",
    }
    for name, text in texts.items():
        yield Hostile(
            "foreign", name, text.encode(), frozenset({FOREIGN}), "image/svg+xml" if "svg" in name else "image/png"
        )
    for form in ("ICO", "TGA", "PCX", "SGI", "DDS", "MSP", "JPEG2000"):
        mode = "1" if form == "MSP" else "RGB"
        yield Hostile("foreign", form, save(Image.new(mode, (32, 32)), form), frozenset({FOREIGN}))
    for brand in (b"isom", b"heic", b"mif1"):
        box = struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\2\0" + brand * 2
        yield Hostile("foreign", brand.decode(), box + b"\0\0\0\x08mdat", UNREADABLE)
    yield Hostile("foreign", "mp3", b"\xff\xfb\x90\x44" + b"\0" * 400, frozenset({FOREIGN}))  # in base64: //uQRA…
    yield Hostile("foreign", "zip", b"PK\3\4" + b"\0" * 40, frozenset({FOREIGN}))
    yield Hostile("foreign", "pickle", b"\x80\x04cos\nsystem\n(S'id'\ntR.", frozenset({FOREIGN}))
    yield Hostile("foreign", "elf", b"\x7fELF" + b"\1" * 60, frozenset({FOREIGN}))


def tiff(width: int, height: int, *, tile: int = 0, strips: int = 1, packed: bytes = b"") -> bytes:
    """A grey Deflate TIFF by hand of one tile (its side in pixels) or of strips, whose data is `packed` or eight zeros.

    `strips` is the number that the header promises; only one is there.
    """
    data = packed or zlib.compress(b"\0" * 8)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    if tile:
        tags += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 8), (325, 4, 1, len(data))]
    else:
        tags += [(273, 4, strips, 8), (278, 4, 1, height), (279, 4, strips, len(data))]
    tags.sort()
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def scans_jpeg(times: int, size: tuple[int, int] = (900, 900)) -> bytes:
    """A progressive grey JPEG whose last scan comes `times` times: a dozen bytes each, and a pass over all pixels."""
    whole = save(Image.new("L", size, 128), "JPEG", progressive=True)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * (times - 1) + whole[-2:]


def _chunked_png(width: int, height: int) -> bytes:
    """A grey PNG of zeros whose data comes in chunks of one byte."""
    whole = png(width, height, depth=8, colour=0, rows=b"\0" * (height * (width + 1)))
    packed = zlib.compress(b"\0" * (height * (width + 1)), 9)
    return whole[:33] + b"".join(_chunk(b"IDAT", bytes([byte])) for byte in packed) + _chunk(b"IEND")


def _chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
