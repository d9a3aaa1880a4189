"""Variants of the formats other than TIFF (whose grid is `tests.tiffs`), each with the picture that it shows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from tests import images

Values = npt.NDArray[np.int64]
PICTURE = images.picture(3, (40, 24))
RGB = np.asarray(PICTURE).astype(np.int64)
GREY = np.asarray(PICTURE.convert("L")).astype(np.int64)
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


@dataclass(frozen=True)
class Variant:
    """A file; its picture [H, W, 3] or None if it is to be refused, and how far decoding may be from it on average."""

    format: str
    name: str
    data: bytes
    shown: Values | None
    near: float = 0.5


def variants() -> Iterator[Variant]:
    """All of them, in the order of the documentation."""
    yield from _jpegs()
    yield from _pngs()
    yield from _others()
    yield from _bmps()


def _thrice(grey: Values) -> Values:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _jpegs() -> Iterator[Variant]:
    whole = images.save(PICTURE, "JPEG", quality=95, subsampling=0)
    yield Variant("JPEG", "baseline, 8 bits", whole, RGB, 2)
    yield Variant(
        "JPEG", "progressive", images.save(PICTURE, "JPEG", quality=95, progressive=True, subsampling=0), RGB, 2
    )
    yield Variant("JPEG", "grey", images.save(PICTURE.convert("L"), "JPEG", quality=95), _thrice(GREY), 2)
    yield Variant("JPEG", "CMYK", images.save(PICTURE.convert("CMYK"), "JPEG", quality=95), RGB, 3)
    yield Variant("JPEG", "lossless, 8 bits (SOF3)", images.lossless_jpeg(40), np.full((40, 40, 3), 128))
    yield Variant("JPEG", "without its end marker", whole[:-2], RGB, 2)
    frame = whole.index(b"\xff\xc0")
    for marker, name in ((0xC5, "SOF5"), (0xCD, "SOF13")):
        yield Variant("JPEG", f"hierarchical ({name})", _patched(whole, frame + 1, bytes([marker])), None)
    twelve = imagecodecs.jpeg8_encode(np.full((16, 16), 2000, np.uint16), bitspersample=12)
    yield Variant("JPEG", "12 bits", twelve, None)
    yield Variant("JPEG", "its height behind its pixels (DNL)", _patched(whole, frame + 5, b"\0\0"), None)
    yield Variant("JPEG", "2 components", _patched(whole, frame + 9, b"\2"), None)


def _patched(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


def _pngs() -> Iterator[Variant]:
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for depth in depths:
            yield _png(colour, depth)
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16))):
        for depth in depths:
            yield _png(colour, depth, key=True)
    whole = images.save(PICTURE, "PNG")
    text = zlib.compress(b'{"node": 1}' * 200_000)
    for name, chunk in (
        ("zTXt", png_chunk(b"zTXt", b"workflow\0\0" + text)),
        ("iTXt", png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + text)),
        ("tEXt", png_chunk(b"tEXt", b"prompt\0" + b"a word " * 300_000)),
        ("iCCP", png_chunk(b"iCCP", b"printer\0\0" + zlib.compress(np.random.default_rng(0).bytes(1_500_000)))),
    ):
        yield Variant("PNG", f"{name} of megabytes before the pixels", whole[:33] + chunk + whole[33:], RGB)
        yield Variant("PNG", f"{name} of megabytes behind the pixels", whole[:-12] + chunk + whole[-12:], RGB)
    yield Variant("PNG", "of Xcode's own (CgBI)", whole[:8] + png_chunk(b"CgBI", b"\x50\0\x20\6") + whole[8:], None)
    yield Variant("PNG", "animated", images.animated("PNG"), np.full((32, 32, 3), (255, 0, 0)))


def _png(colour: int, depth: int, *, key: bool = False) -> Variant:
    """A PNG of a colour type and depth by hand; with a `key`, one colour of it is transparent."""
    top = (1 << depth) - 1
    height, width = GREY.shape
    source = RGB if colour in (2, 6) else GREY[:, :, None]
    samples = (source * top + 127) // 255
    shown = samples * 255 / top
    chunks = b""
    if colour == 3:
        table = np.random.default_rng(depth).integers(0, 256, (1 << depth, 3))
        chunks = png_chunk(b"PLTE", table.astype(np.uint8).tobytes())
        shown = table[samples[:, :, 0]].astype(float)
    if colour in (4, 6):
        alpha = np.broadcast_to(np.linspace(0, top, width).round().astype(np.int64), (height, width))[:, :, None]
        shown = shown * alpha / top + 255 * (1 - alpha / top)
        samples = np.concatenate([samples, alpha], axis=2)
    if key:
        clear = samples[height // 2, width // 2]
        near = samples[0, 0].copy()
        if depth == 16:  # a colour that differs in its low bits only stays
            near = clear ^ 1
            samples[:2, :5] = near
            shown[:2, :5] = near * 255 / top
        chunks += png_chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
        shown = np.where((samples == clear).all(axis=-1, keepdims=True), 255, shown)
    digits = samples.reshape(height, -1, 1) >> np.arange(depth - 1, -1, -1) & 1
    rows = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    data = images.png(width, height, depth=depth, colour=colour, rows=b"".join(b"\0" + row.tobytes() for row in rows))
    shown = np.rint(shown).astype(np.int64)
    name = f"{_PNG_COLOURS[colour]}{', one transparent' if key else ''}, {depth} bit{'s' if depth > 1 else ''}"
    return Variant(
        "PNG", name, data[:33] + chunks + data[33:], shown if shown.shape[2] == 3 else _thrice(shown[:, :, 0])
    )


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and check sum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _others() -> Iterator[Variant]:
    yield Variant("WebP", "lossy", images.save(PICTURE, "WEBP", quality=95), RGB, 5)
    yield Variant("WebP", "lossless", images.save(PICTURE, "WEBP", lossless=True), RGB)
    yield Variant("WebP", "animated", images.animated("WEBP"), np.full((32, 32, 3), (255, 0, 0)), 2)
    yield Variant("GIF", "still", images.save(PICTURE.convert("L"), "GIF"), _thrice(GREY))
    yield Variant("GIF", "animated", images.animated("GIF"), np.full((32, 32, 3), (255, 0, 0)))
    yield Variant("AVIF", "8 bits", images.save(PICTURE, "AVIF", quality=95, subsampling="4:4:4"), RGB, 2)
    ten = imagecodecs.avif_encode((RGB * 4 + RGB // 64).astype(np.uint16), bitspersample=10, level=95)
    yield Variant("AVIF", "10 bits", ten, RGB, 4)
    yield Variant("HEIC", "with the extra `heif`", heic(), RGB, 12)  # half the colours' sides


def heic() -> bytes:
    """What a phone writes, but small."""
    import pillow_heif

    stream = BytesIO()
    pillow_heif.from_pillow(PICTURE).save(stream, quality=95)
    return stream.getvalue()


def bmp(bits: int, rows: Values, *, compression: int = 0, masks: tuple[int, ...] = (), palette: bytes = b"") -> bytes:
    """A BMP of a version 4 header; `rows` are pixels as numbers [H, W]."""
    height, width = rows.shape
    digits = rows[::-1].astype(np.uint64)[:, :, None]
    if bits >= 8:
        raw = (digits >> (8 * np.arange(bits // 8)).astype(np.uint64) & 255).astype(np.uint8).reshape(height, -1)
    else:
        spread = digits >> np.arange(bits - 1, -1, -1).astype(np.uint64) & 1
        raw = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)
    raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4)))
    colours = len(palette) // 4
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, bits, compression, raw.size, 2835, 2835, colours, 0)
    head += struct.pack("<4I", *(masks or (0, 0, 0, 0))) + b"BGRs" + bytes(48)
    start = 14 + len(head) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + raw.size, 0, 0, start) + head + palette + raw.tobytes()


def _bmps() -> Iterator[Variant]:
    red, green, blue = (RGB[:, :, channel] for channel in range(3))
    full = red << 16 | green << 8 | blue
    argb = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for bits in (1, 4, 8):
        top = (1 << bits) - 1
        table = np.linspace(0, 255, top + 1).round().astype(np.uint8)
        palette = b"".join(bytes((value, value, value, 0)) for value in table)
        indices = (GREY * top + 127) // 255
        yield Variant("BMP", f"palette, {bits} bit{'s' if bits > 1 else ''}", bmp(bits, indices, palette=palette),
                      _thrice(table[indices].astype(np.int64)))  # fmt: skip
    short = (red >> 3 << 11) | (green >> 2 << 5) | blue >> 3
    yield Variant("BMP", "RGB, 16 bits", bmp(16, short, compression=3, masks=(0xF800, 0x7E0, 0x1F, 0)), RGB, 5)
    yield Variant("BMP", "RGB, 24 bits", bmp(24, full), RGB)
    yield Variant("BMP", "RGB, 32 bits", bmp(32, full | 0x80 << 24), RGB)
    yield Variant("BMP", "RGB with alpha, 32 bits", bmp(32, full | 0xFF << 24, compression=3, masks=argb), RGB)
    yield Variant("BMP", "RGB with an alpha of 0 everywhere", bmp(32, full, compression=3, masks=argb), RGB)
    half = full | np.where(np.arange(full.shape[1]) < 20, 0, 0xFF) << 24
    white = np.where(np.arange(full.shape[1])[None, :, None] < 20, 255, RGB)
    yield Variant("BMP", "RGB, half of it transparent", bmp(32, half, compression=3, masks=argb), white)
    yield Variant("BMP", "10 bits a colour", bmp(32, full, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF, 0)), None)
    alpha = bmp(16, short, compression=3, masks=(0x7C00, 0x3E0, 0x1F, 0x8000))
    yield Variant("BMP", "RGB with alpha, 16 bits", alpha, None)
    yield Variant("BMP", "2 bits", bmp(2, GREY // 64), None)
    yield Variant("BMP", "a JPEG or PNG inside", bmp(24, full, compression=4), None)


def profile(name: str = "swapped") -> bytes:
    """A colour profile: `sRGB`'s own, or one of the same curves with red and green `swapped`."""
    found = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if name == "sRGB":
        return found
    return found.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")


def with_profile(format: str, icc: bytes) -> bytes:  # noqa: A002 - Pillow's word
    """The picture as a lossless or fine file of `format` that carries a profile."""
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(format, {})
    return images.save(PICTURE, format, icc_profile=icc, **options)


def swapped() -> Image.Image:
    """The picture as the swapped profile means it."""
    return Image.fromarray(np.asarray(PICTURE)[:, :, [1, 0, 2]])
