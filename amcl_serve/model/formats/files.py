"""What a file is, by its first bytes, and whether it may be decoded in this process."""

from __future__ import annotations

from amcl_serve.errors import UnsupportedImage
from amcl_serve.model.formats import jpeg

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
ACCEPTED = "JPEG, PNG, WebP, GIF, TIFF, BMP and AVIF"

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_HEIF = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF = frozenset((b"avif", b"avis"))
_FTYP = 512  # bytes of the box of brands that are looked at


def kind_of(data: bytes) -> str:
    """Pillow's name of the format that the first bytes claim: one of FORMATS, or HEIF; UnsupportedImage for others."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), _FTYP, len(data))
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
        # Two of the same family: `mif1`, the first brand of either, says only that it is one.
        if brands & _AVIF:
            return "AVIF"
        if brands & _HEIF:
            return "HEIF"
    raise UnsupportedImage(f"not an image of an accepted format; {ACCEPTED} are accepted, and HEIC with an extra")


def is_fast(kind: str, data: bytes) -> bool:
    """Whether the file takes the fast path: the decoders for it are fuzzed, and most files are of these kinds."""
    return kind in ("PNG", "WEBP") or (kind == "JPEG" and jpeg.is_common(data))
