"""One file, from its bytes to upright RGB, in whatever process this runs: limits, errors, the way through Pillow."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Final, NamedTuple

# Importing a plugin registers its format; the others (EPS runs a program, PSD, FITS, ...) stay out of reach.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from amcl_serve.errors import AmclError, ImageTooLarge, UndecodableImage
from amcl_serve.model.formats import bmp, heif, jpeg, png, profiles, tiff
from amcl_serve.model.formats.colour import to_rgb
from amcl_serve.model.formats.turns import Take

_UPRIGHT = {  # EXIF orientation -> what turns the stored image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


BICUBIC: Final = "bicubic"
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, BICUBIC: Image.Resampling.BICUBIC}
_NO_MEMORY = ("decoder error -9", "out of memory when reading image file")  # how Pillow says it of its decoders


class Wanted(NamedTuple):
    """What to make of a file: its centred square by `fit`, or with size 0 the whole; and what it may cost."""

    size: int
    scaled: bool  # whether a JPEG may be decoded at reduced scale
    max_pixels: int
    accept_truncated: bool
    interpolation: str = "bilinear"
    crop: float = 1.0


class LeftToChild(Exception):
    """The file looked like one for the fast path, and is none."""


def read(data: bytes, kind: str, wanted: Wanted, take: Take, *, in_child: bool) -> Image.Image:
    """The image in `data`, of a format that `kind_of` found: RGB, upright, as `wanted`.

    `take` is given the pixels before there are any. Raises the errors of a single image and, outside of a child,
    LeftToChild.
    """
    try:
        image, orientation, profile = _rgb(data, kind, wanted, take, in_child)
        if wanted.size:
            # The square is its own mirror image (but for the rounding of where it begins): turning it at the end is
            # as turning the whole image first.
            image = fit(image, wanted.size, wanted.interpolation, wanted.crop)
        if profile is not None:  # of the few pixels that are left
            image = profiles.to_srgb(image, profile)
        return _turned(image, orientation)
    except (AmclError, LeftToChild):
        raise
    except Exception as fault:  # Pillow's plugins raise almost anything on damaged input
        raise _error(fault, kind, wanted.max_pixels) from None


def fit(image: Image.Image, size: int, interpolation: str = "bilinear", crop: float = 1.0) -> Image.Image:
    """The centre size x size of an image whose shorter side is resized to `shorter_side(size, crop)`.

    "bilinear" and the whole square (the models trained here) take the centre exactly. All else takes the pixels of
    torchvision's Resize and CenterCrop, which timm's networks are used with: whole ones of the resized image, by which
    the centre may be half a pixel off. A 1 x 10000 image stays small on the way.
    """
    width, height = image.size
    side = min(width, height)
    if interpolation == "bilinear" and crop == 1:
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    else:
        shorter = shorter_side(size, crop)
        (left, right), (top, bottom) = (_kept(length, side, shorter, size) for length in (width, height))
        box = (left, top, right, bottom)
    return image.resize((size, size), _RESAMPLING[interpolation], box=box)


def shorter_side(size: int, crop: float) -> int:
    """Pixels of the resized shorter side, of which size are kept: floor(size / crop), as timm has it."""
    return math.floor(size / crop + 1e-6)  # a crop of 224 / 232 means 232


def _kept(length: int, side: int, shorter: int, size: int) -> tuple[float, float]:
    """From where to where an axis of `length` is kept, where the shorter axis, `side`, becomes `shorter`."""
    resized = shorter * length // side
    first = round((resized - size) / 2)
    return first * length / resized, (first + size) * length / resized


def _error(fault: Exception, kind: str, max_pixels: int) -> AmclError:
    """What to say of a file that Pillow failed on."""
    # The warning is raised where warnings are errors.
    if isinstance(fault, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageTooLarge(f"the image has more pixels than the {max_pixels} that are accepted")
    if isinstance(fault, MemoryError) or str(fault) in _NO_MEMORY:
        return UndecodableImage("the image takes more memory than an image of as many pixels should")
    if isinstance(fault, UnidentifiedImageError):
        return UndecodableImage("the image is damaged or cut off: its header cannot be read")
    return UndecodableImage(f"the image is damaged or cut off ({kind})")


def _rgb(data: bytes, kind: str, wanted: Wanted, take: Take, in_child: bool) -> tuple[Image.Image, int, bytes | None]:
    """The picture as RGB, and what is still to be applied: EXIF's orientation, and a profile (then it may be CMYK)."""
    if kind == "TIFF":
        return tiff.read(data, wanted.max_pixels, take)
    profile: bytes | None = None
    transparency = None
    if kind == "PNG":
        data, profile, transparency = png.prepared(data)
    elif kind == "JPEG" and in_child:  # the fast path takes no other than the common ones
        jpeg.check_variant(data)
    elif kind == "BMP":
        bmp.check_variant(data)
    elif kind == "HEIF":
        heif.register()
    with Image.open(BytesIO(data), formats=(kind,)) as image:
        width, height = image.size
        if width * height > wanted.max_pixels:
            raise ImageTooLarge(f"the image has {width} x {height} pixels; at most {wanted.max_pixels} are accepted")
        if kind == "JPEG":
            jpeg.check_scans(image, data)
        if kind != "PNG":
            profile = image.info.get("icc_profile")
        if profile is not None and not profiles.matters(profile, image.mode):
            profile = None
        if not in_child and (profile is not None or (transparency is not None and transparency.is_costly)):
            raise LeftToChild
        loaded = _loaded(image, data, kind, wanted, take, in_child)
        if transparency is not None:
            return png.on_white(loaded, data, transparency), _orientation(image), profile
        return to_rgb(loaded, keep_cmyk=profile is not None), _orientation(image), profile


def _loaded(
    image: ImageFile.ImageFile, data: bytes, kind: str, wanted: Wanted, take: Take, in_child: bool
) -> ImageFile.ImageFile:
    """The image with its pixels; where a JPEG's end is missing, with those that are there."""
    _prepare(image, data, kind, wanted)
    take(image.width * image.height)
    try:
        image.load()
    except OSError:
        # What is rare may cost more, and Pillow's switch for truncated files holds for a whole process.
        if not in_child and (kind == "JPEG" or wanted.accept_truncated):
            raise LeftToChild from None
        if kind != "JPEG":
            raise
        return _without_end(data, wanted)
    if kind == "BMP":
        bmp.opaque_if_clear(image)
    return image


def _prepare(image: ImageFile.ImageFile, data: bytes, kind: str, wanted: Wanted) -> None:
    if kind == "JPEG" and wanted.scaled and jpeg.frame_of(data) in jpeg.SCALABLE_FRAMES:
        least = 2 * shorter_side(wanted.size, wanted.crop)
        image.draft(None, (least, least))  # the result is never smaller than this
    image.decodermaxblock = len(data)  # not in blocks, for each of which a thread queues up for the interpreter


def _without_end(data: bytes, wanted: Wanted) -> ImageFile.ImageFile:
    """A JPEG that was cut off: its pixels, if all or nearly all are there or it is wanted anyway.

    libjpeg fills what is missing before an end marker with grey. What it makes of other bytes there instead shows which
    pixels are missing: those where the two differ.
    """

    data = data.rstrip(b"\xff")  # half a marker

    def ended(tail: bytes) -> ImageFile.ImageFile:
        whole = data + tail + jpeg.END
        image = Image.open(BytesIO(whole), formats=("JPEG",))
        _prepare(image, whole, "JPEG", wanted)
        image.load()
        return image

    filled = ended(b"")
    if wanted.accept_truncated:
        return filled
    if not jpeg.has_all_scans(data) or not jpeg.same_picture(filled, ended(jpeg.noise(len(data)))):
        raise UndecodableImage("the image is cut off: rows of a JPEG are missing at its end")
    return filled


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none, or its block is damaged (which spoils no pixel).

    Called after `load`: PNG may keep its EXIF behind the pixels.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
