"""TIFFs of any layout of samples, written by hand, and the grid of them that decoding is tested on."""

from __future__ import annotations

import itertools
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

HEIGHT, WIDTH = 21, 37
COMPRESSIONS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (1, bytes),
    "LZW": (5, imagecodecs.lzw_encode),
    "Deflate": (8, zlib.compress),
    "old Deflate": (32946, zlib.compress),
    "PackBits": (32773, bytes),  # row by row
    "LZMA": (34925, lzma.compress),
    "ZSTD": (50000, imagecodecs.zstd_encode),
}
WHITE, BLACK, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5


def grey_values() -> npt.NDArray[np.int64]:
    """A picture uint8-valued [H, W] with a slope, stripes, and both black and white in it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values = 127 + 90 * np.sin(x / 4 + y / 7) + 3 * (y - HEIGHT / 2)
    values[:3, :5], values[-4:, -6:] = 0, 255
    return np.rint(values.clip(0, 255)).astype(np.int64)


def colour_values() -> npt.NDArray[np.int64]:
    """[H, W, 3], three quite different channels."""
    grey = grey_values()
    return np.stack([grey, 255 - grey[::-1], np.roll(grey, 9, axis=1) // 2 + 60], axis=-1)


def stored(values: npt.NDArray[np.int64], depth: str) -> Array:
    """Values 0..255 as samples of a depth such as `u16`, `i32` or `f16`, over the range that such files have."""
    kind, bits = depth[0], int(depth[1:])
    if kind == "f":
        return (values / 255).astype(f"f{bits // 8}")
    if kind == "i":
        top = {8: 127, 16: 32767, 32: 255}[bits]
        return np.rint(values * (top / 255)).astype(f"i{bits // 8}")
    top = (1 << bits) - 1
    return ((values.astype(object) * top + 127) // 255).astype(f"u{max(1, 1 << (bits - 1).bit_length() >> 3)}")


def tiff(
    samples: Array,
    *,
    bits: int,
    photometric: int,
    order: str = "<",
    compression: str | int = "none",
    predictor: int = 1,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    strip: int = 8,
    big: bool = False,
    extra: tuple[int, ...] = (),
    tags: dict[int, tuple[int, list[int]]] | None = None,
    blocks: list[bytes] | None = None,
) -> bytes:
    """A TIFF of samples [H, W, C]; `tile` is (width, height), `strip` rows; `tags` adds or replaces (type, values).

    `blocks` are taken as they are, for compressions that are none of COMPRESSIONS.
    """
    height, width, channels = samples.shape
    code, pack = COMPRESSIONS[compression] if isinstance(compression, str) else (compression, bytes)
    if blocks is None:
        planes = [samples[:, :, c : c + 1] for c in range(channels)] if planar else [samples]
        blocks = [_block(b, bits, order, predictor, code, pack) for p in planes for b in _blocks(p, tile, strip)]
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    long = 16 if big else 4
    entries: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [code]), 262: (3, [photometric]),
        277: (3, [channels]), 284: (3, [2 if planar else 1]), 339: (3, [kind] * channels),
    }  # fmt: skip
    offsets, counts = (324, 325) if tile else (273, 279)
    entries |= {322: (4, [tile[0]]), 323: (4, [tile[1]])} if tile else {278: (4, [strip])}
    entries |= {offsets: (long, [0] * len(blocks)), counts: (long, [len(block) for block in blocks])}
    if predictor != 1:
        entries[317] = (3, [predictor])
    if extra:
        entries[338] = (3, list(extra))
    entries |= tags or {}
    return _file(entries, offsets, blocks, order, big)


def _file(entries: dict[int, tuple[int, list[int]]], offsets: int, blocks: list[bytes], order: str, big: bool) -> bytes:
    sizes, word, number = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}, "Q" if big else "I", "Q" if big else "H"
    inline, start = (8, 16) if big else (4, 8)
    length = start + struct.calcsize(f"={number}") + len(entries) * (20 if big else 12) + inline
    later = sum(
        size for kind, values in entries.values() if (size := len(values) * struct.calcsize("=" + sizes[kind])) > inline
    )
    place = length + later
    for index, block in enumerate(blocks):
        entries[offsets][1][index] = place
        place += len(block)
    table, tail = struct.pack(order + number, len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        raw = struct.pack(f"{order}{len(values)}{sizes[kind]}", *values)
        table += struct.pack(order + "HH" + word, tag, kind, len(values))
        if len(raw) <= inline:
            table += raw.ljust(inline, b"\0")
        else:
            table += struct.pack(order + word, length + len(tail))
            tail += raw
    head = struct.pack(order + "2sH", b"II" if order == "<" else b"MM", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    return head + table + bytes(inline) + tail + b"".join(blocks)


def _blocks(samples: Array, tile: tuple[int, int] | None, strip: int) -> Iterator[Array]:
    height, width, channels = samples.shape
    if tile is None:
        yield from (samples[top : top + strip] for top in range(0, height, strip))
        return
    for top, left in itertools.product(range(0, height, tile[1]), range(0, width, tile[0])):
        block = np.zeros((tile[1], tile[0], channels), samples.dtype)
        part = samples[top : top + tile[1], left : left + tile[0]]
        block[: part.shape[0], : part.shape[1]] = part
        yield block


def _block(samples: Array, bits: int, order: str, predictor: int, code: int, pack: Callable[[bytes], bytes]) -> bytes:
    rows = [_row(row, bits, order, predictor) for row in samples]
    if code == 32773:
        return b"".join(imagecodecs.packbits_encode(row) for row in rows)
    return pack(b"".join(rows))


def _row(row: Array, bits: int, order: str, predictor: int) -> bytes:
    """Samples [W, C] of one row as bytes."""
    if bits % 8:
        digits = row.reshape(-1, 1) >> np.arange(bits - 1, -1, -1) & 1
        return np.packbits(digits.astype(np.uint8)).tobytes()
    size = bits // 8
    if predictor == 3:
        planes = row.astype(f">f{size}").reshape(-1).view(np.uint8).reshape(-1, size).T.reshape(-1, row.shape[1])
        return np.diff(planes, axis=0, prepend=np.zeros_like(planes[:1])).tobytes()
    if predictor == 2:
        numbers = row.view(f"u{size}")
        row = np.diff(numbers, axis=0, prepend=np.zeros_like(numbers[:1]))
    return row.astype(row.dtype.newbyteorder(order)).tobytes()


@dataclass(frozen=True)
class Cell:
    """One layout of samples."""

    colours: str
    depth: str
    order: str
    compression: str
    predictor: int
    planar: bool
    tiled: bool
    big: bool

    def file(self) -> tuple[bytes, Array, npt.NDArray[np.int64]]:
        """The file, the samples [H, W, C] in it, and the picture [H, W, 3] that it shows."""
        bits = int(self.depth[1:])
        photometric, shown, parts, extra = _picture(self.colours, bits)
        tags = {}
        if photometric == PALETTE:
            samples = parts * ((1 << bits) - 1) // 255
            table = np.random.default_rng(0).integers(0, 256, (3, 1 << bits))
            tags = {320: (3, [int(v) * 257 for v in table.reshape(-1)])}
            shown = table.T[samples[:, :, 0]]
            samples = samples.astype(np.uint8 if bits <= 8 else np.uint16)
        else:
            samples = stored(parts, self.depth)
        data = tiff(
            samples, bits=bits, photometric=photometric, order=self.order, compression=self.compression,
            predictor=self.predictor, planar=self.planar, tile=(16, 32) if self.tiled else None, big=self.big,
            extra=extra, tags=tags,
        )  # fmt: skip
        return data, samples, shown


Values = npt.NDArray[np.int64]
Picture = tuple[int, Values, Values, tuple[int, ...]]  # photometric, shown [H, W, 3], samples 0..255 [H, W, C], extras


def _picture(colours: str, bits: int) -> Picture:
    """What a cell shows, in as many greys of a channel as `bits` can hold, and its samples still as 0..255."""
    grey, colour, alpha = (_coarse(v, bits) for v in (grey_values()[:, :, None], colour_values(), _slope()))
    if colours == "CMYK":
        ink = np.concatenate([255 - colour, _coarse(np.full_like(grey, 40), bits)], axis=2)
        return CMYK, np.rint((255 - ink[:, :, :3]) * (255 - ink[:, :, 3:]) / 255).astype(np.int64), ink, ()
    if colours == "palette":
        return PALETTE, colour, grey, ()
    if colours == "RGB, another sample":
        return RGB, colour, np.concatenate([colour, grey], axis=2), (0,)
    if colours == "white is zero":
        return WHITE, np.repeat(grey, 3, axis=2), 255 - grey, ()
    name, _, transparency = colours.partition(", ")
    base = colour if name == "RGB" else grey
    shown = base if not transparency else np.rint((base * alpha + 255 * (255 - alpha)) / 255).astype(np.int64)
    shown = shown if name == "RGB" else np.repeat(shown, 3, axis=2)
    photometric = {"RGB": RGB, "white is zero": WHITE}.get(name, BLACK)
    if not transparency:
        return photometric, shown, base, ()
    if transparency == "associated alpha":
        base = _coarse(base * alpha // 255, bits)
        shown = base + 255 - alpha if name == "RGB" else np.repeat(base + 255 - alpha, 3, axis=2)
    if photometric == WHITE:
        base = 255 - base
    return photometric, shown, np.concatenate([base, alpha], axis=2), (1 if "associated" in transparency else 2,)


def _slope() -> Values:
    """An alpha of all degrees."""
    return np.broadcast_to(np.linspace(0, 255, WIDTH).round().astype(np.int64), (HEIGHT, WIDTH))[:, :, None]


def _coarse(values: Values, bits: int) -> Values:
    top = (1 << min(bits, 8)) - 1
    return (values * top + 127) // 255 * 255 // top


COLOURS = (
    "white is zero", "black is zero", "grey, alpha", "grey, associated alpha", "white is zero, alpha", "RGB",
    "RGB, alpha", "RGB, associated alpha", "RGB, another sample", "palette", "CMYK",
)  # fmt: skip
DEPTHS = ("u1", "u2", "u4", "u8", "u12", "u16", "u32", "u64", "i8", "i16", "i32", "f16", "f32", "f64")


def grid() -> Iterator[Cell]:
    """Every cell that makes sense as a file: colours x depth x order x compression x predictor x planes x blocks."""
    for colours, depth, compression, predictor, planar in itertools.product(
        COLOURS, DEPTHS, COMPRESSIONS, (1, 2, 3), (False, True)
    ):
        bits = int(depth[1:])
        palette_or_odd = colours == "palette" and (depth[0] != "u" or bits > 16)
        if palette_or_odd or (predictor == 3 and depth[0] != "f") or (predictor != 1 and bits % 8):
            continue
        if predictor != 1 and compression in ("none", "PackBits"):
            continue
        if planar and colours in ("white is zero", "black is zero", "palette"):
            continue
        for order, tiled in itertools.product("<>", (False, True)):
            yield Cell(colours, depth, order, compression, predictor, planar, tiled, (bits + tiled) % 2 == 1)
