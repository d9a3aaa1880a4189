"""What a TIFF's directory says of its samples; a variant that is not read is refused here, by its name."""

from __future__ import annotations

from typing import NamedTuple

from amcl_serve.errors import ImageTooLarge, UndecodableImage, UnsupportedImage
from amcl_serve.model.formats.tiff.directory import Directory, Order

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}  # samples of a pixel
NONE, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD, WEBP = 1, 5, 7, 8, 32773, 32946, 34925, 50000, 50001
CCITT = frozenset((2, 3, 4))
PREDICTED = frozenset((LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD))  # the compressions that a predictor goes with
CODED = frozenset((JPEG, WEBP))  # compressions of pictures
BYTEWISE = PREDICTED | {NONE, PACKBITS}  # compressions that know nothing of samples

_NAMES = {
    "photometric": {4: "transparency mask", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "raw of a camera"},
    "compression": {6: "old-style JPEG", 34712: "JPEG 2000", 34887: "LERC", 50002: "JPEG XL", 33003: "JPEG 2000"},
}
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha


class Layout(NamedTuple):
    """The samples of a picture, and where its blocks (strips or tiles) lie in the file."""

    order: Order
    width: int
    height: int
    kind: str  # u, i or f
    bits: int  # of a sample
    samples: int  # of a pixel
    photometric: int
    compression: int
    predictor: int
    planes: bool  # each sample in a plane of its own
    alpha: int | None  # which sample it is
    associated: bool  # whether the colours are multiplied by it
    block: tuple[int, int]  # width, height
    offsets: list[int]
    counts: list[int]
    fill_order: int
    jpeg_tables: bytes
    fax_options: int

    @property
    def colours(self) -> int:
        """Samples of a pixel that are colour."""
        return COLOURS[self.photometric]

    @property
    def per_block(self) -> int:
        """Samples of a pixel that lie in one block."""
        return 1 if self.planes else self.samples

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a block, unpacked."""
        return -(-self.block[0] * self.per_block * self.bits // 8)


def layout(directory: Directory, max_pixels: int) -> Layout:
    """The layout; ImageTooLarge by the header, UnsupportedImage naming what is not read, UndecodableImage."""
    one, tags = directory.one, directory.tags
    width, height = one(256, 0), one(257, 0)
    if width < 1 or height < 1:
        raise UndecodableImage("the image is damaged: a TIFF without a size")
    tiled = 322 in tags
    block = (one(322, 0), one(323, 0)) if tiled else (width, min(one(278, height), height) or height)
    largest = max(width, block[0]), max(height, block[1])  # a tile is decoded whole, however small the image
    if largest[0] * largest[1] > max_pixels:
        raise ImageTooLarge(f"the image has {largest[0]} x {largest[1]} pixels; at most {max_pixels} are accepted")
    if min(block) < 1:
        raise UndecodableImage("the image is damaged: a TIFF with tiles of no size")
    photometric, compression = tags.get(262, [-1])[0], one(259, NONE)
    if photometric not in COLOURS:
        _refuse("photometric", photometric)
    if compression not in BYTEWISE | CCITT | {JPEG, WEBP}:
        _refuse("compression", compression)
    samples = one(277, 1)
    colours = COLOURS[photometric]
    extra = tags.get(338, [])
    if samples < colours or samples > colours + 16:
        raise UnsupportedImage(f"a TIFF of {samples} samples a pixel is not supported with {colours} colours")
    alphas = [colours + i for i, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)]
    alpha = alphas[0] if alphas and alphas[0] < samples else None
    planes = one(284, 1) == 2 and samples > 1
    offsets, counts = tags.get(324 if tiled else 273, []), tags.get(325 if tiled else 279, [])
    if compression == NONE and not counts and len(offsets) == 1:
        counts = [1 << 40]  # as old writers leave it out: all that is there
    found = Layout(
        directory.order, width, height, _kind(tags.get(339, [1])), _same(tags.get(258, [1]), "depths"), samples,
        photometric, compression, one(317, 1) if compression in PREDICTED else 1, planes, alpha,
        alpha is not None and extra[alpha - colours] == _ASSOCIATED, block, offsets, counts, one(266, 1),
        bytes(tags.get(347, [])), one(292, 0),
    )  # fmt: skip
    _check_blocks(found)
    _check_predictor(found, one(317, 1))
    _check_samples(found, directory)
    return found


def _refuse(what: str, number: int) -> None:
    name = _NAMES[what].get(number)
    raise UnsupportedImage(f"a TIFF of {what} {number}{f' ({name})' if name else ''} is not supported")


def _same(values: list[int], what: str) -> int:
    if len(set(values)) != 1:
        raise UnsupportedImage(f"a TIFF whose samples have different {what} is not supported")
    return values[0]


def _kind(formats: list[int]) -> str:
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(_same(formats, "formats"))
    if kind is None:
        raise UnsupportedImage("a TIFF of complex or unknown samples is not supported")
    return kind


def _check_blocks(found: Layout) -> None:
    across, down = -(-found.width // found.block[0]), -(-found.height // found.block[1])
    needed = across * down * (found.samples if found.planes else 1)
    if len(found.offsets) < needed or len(found.counts) < needed:
        raise UndecodableImage("the image is damaged: a TIFF that lacks strips or tiles")
    if 0 in found.counts[:needed]:
        raise UnsupportedImage("a TIFF with empty strips or tiles is not supported")


def _check_predictor(found: Layout, named: int) -> None:
    if found.compression in BYTEWISE - PREDICTED and named != 1:
        raise UnsupportedImage(f"a TIFF with predictor {named} is not supported without a compression that has one")
    allowed = {1, 2} if found.bits in (8, 16, 32, 64) and found.kind != "f" else {1}
    if found.kind == "f":
        allowed = {1, 2, 3}
    if found.predictor not in allowed:
        raise UnsupportedImage(f"a TIFF with predictor {found.predictor} is not supported for {found.bits} bits")


def _check_samples(found: Layout, directory: Directory) -> None:
    """UnsupportedImage for depths and kinds of samples that do not go with the colours or the compression."""
    bits, kind, photometric = found.bits, found.kind, found.photometric
    whole = {"u": bits <= 16 or bits in (32, 64), "i": bits in (8, 16, 32, 64), "f": bits in (16, 32, 64)}
    if bits < 1 or not whole[kind]:
        raise UnsupportedImage(f"a TIFF of {bits}-bit {_KIND[kind]} samples is not supported")
    deep = kind != "u" or bits > 16
    if deep and photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise UnsupportedImage(f"a TIFF of {bits}-bit {_KIND[kind]} samples is supported in grey and RGB only")
    if found.alpha is not None and (deep or photometric in (PALETTE, LAB)):
        raise UnsupportedImage("a TIFF with transparency is supported with unsigned samples of grey, RGB or CMYK only")
    if found.associated and photometric not in (BLACK_IS_ZERO, RGB):
        raise UnsupportedImage("a TIFF with associated alpha is supported in RGB and grey, black being zero, only")
    if photometric == PALETTE and len(directory.tags.get(320, [])) != 3 << bits:
        raise UndecodableImage("the image is damaged: a TIFF whose palette has another size")
    if photometric == LAB and bits not in (8, 16):
        raise UnsupportedImage(f"a TIFF of {bits}-bit L*a*b* samples is not supported")
    if photometric == CMYK and directory.one(332, 1) != 1:
        raise UnsupportedImage("a TIFF of other inks than CMYK is not supported")
    if photometric == YCBCR and found.compression != JPEG:
        plain = directory.tags.get(530, [2, 2]) == [1, 1] and bits == 8 and not {529, 532} & directory.tags.keys()
        if not plain or found.alpha is not None:
            raise UnsupportedImage("a TIFF of YCbCr is supported as JPEG, or in 8 bits without subsampling, only")
    if found.compression in CCITT and (bits, found.samples) != (1, 1):
        raise UnsupportedImage("a TIFF of CCITT compression is supported with one bit a pixel only")
    if found.compression in CODED:
        _check_lossy(found)


def _check_lossy(found: Layout) -> None:
    name, shapes = ("JPEG", _JPEG_SHAPES) if found.compression == JPEG else ("WebP", _WEBP_SHAPES)
    odd = found.planes and (found.compression == WEBP or found.photometric == YCBCR)
    if found.bits != 8 or found.kind != "u" or odd or (found.photometric, found.samples) not in shapes:
        raise UnsupportedImage(f"a TIFF of this layout of samples, compressed as {name}, is not supported")


_KIND = {"u": "unsigned", "i": "signed", "f": "floating-point"}
_JPEG_SHAPES = frozenset(((BLACK_IS_ZERO, 1), (WHITE_IS_ZERO, 1), (RGB, 3), (YCBCR, 3), (CMYK, 4)))
_WEBP_SHAPES = frozenset(((RGB, 3), (RGB, 4)))
