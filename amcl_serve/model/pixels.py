"""Bytes to pixels. Every limit on a single image lives here, and whatever the bytes, only four errors come out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import numpy.typing as npt

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

from amcl_serve.errors import AmclError, EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from amcl_serve.model.bundle import InputSpec

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
OWN_FILES_MAX_PIXELS = 178_956_970  # Pillow's own limit, where the files are the user's own and no stranger's
ACCEPTED = "JPEG, PNG, WebP, GIF, TIFF, BMP and AVIF"
MAX_SCANS = 100  # of a progressive JPEG: encoders write about 10; a scan of a dozen bytes costs a pass over all pixels

_STRIP = 1 << 20  # pixels that are converted at a time
_SCAN = re.compile(rb"\xff\xda\0[\x06\x08\x0a\x0c][\x01-\x04]")  # the start of one; what is compressed never holds it
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers SOF0 to SOF15
# Baseline, extended and progressive, by Huffman's or arithmetic coding. Asked to scale any other, such as a lossless
# one (SOF3), libjpeg writes beyond its buffers.
SCALABLE_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM")
_UPRIGHT = {  # EXIF orientation -> what turns the stored image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, spec: InputSpec, *, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode one image to uint8 [S, S, 3], S = `spec.size`: upright RGB, shorter side resized to S, centre kept.

    Of an animation or a multi-page file the first frame is taken; transparency is laid on white. Raises EmptyImage,
    UnsupportedImage (no image of an accepted format), ImageTooLarge (more than `max_pixels`, read from the header
    before any pixel is decoded; Pillow's own limit of 179 million holds beside it) or UndecodableImage.
    """
    with _opened(data, max_pixels) as image:
        if spec.scaled_jpeg_decoding and frame_of(data) in SCALABLE_FRAMES:
            image.draft(None, (2 * spec.size, 2 * spec.size))  # JPEG only; the result is never smaller than this
        image.decodermaxblock = len(data)  # not in blocks, for each of which a thread queues up for the interpreter
        image.load()
        # The square is its own mirror image, so turning it at the end is the same as turning the whole image first.
        return np.array(_turned(fit(_to_rgb(image), spec.size), _orientation(image)), dtype=np.uint8)


def upright(data: bytes, *, max_pixels: int = OWN_FILES_MAX_PIXELS) -> Image.Image:
    """Decode one image to RGB at its own size, upright; colours, frames and errors are those of `decode`."""
    with _opened(data, max_pixels) as image:
        image.load()
        return _turned(_to_rgb(image), _orientation(image))


def fit(image: Image.Image, size: int) -> Image.Image:
    """The centred square of an RGB image, resized to size x size. A 1 x 10000 image stays small on the way."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The image behind its header, small enough; whatever goes wrong in the block becomes one of the four errors."""
    if not data:
        raise EmptyImage("zero bytes where an image was expected")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image, max_pixels)
            _check_scans(image, data)
            yield image
    except AmclError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the warning, where warnings are errors
        raise ImageTooLarge(f"the image has more pixels than the {max_pixels} that are accepted") from None
    except UnidentifiedImageError:
        if _claims_accepted_format(data):
            raise UndecodableImage("the image is damaged or cut off: its header cannot be read") from None
        raise UnsupportedImage(f"not an image of an accepted format; {ACCEPTED} are accepted") from None
    except Exception:  # Pillow's plugins raise almost anything on damaged input
        raise UndecodableImage("the image is damaged or cut off, or of a variant that cannot be decoded") from None


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile is decoded whole, however small the image
        width, height = max(width, image.tag_v2.get(322, 0)), max(height, image.tag_v2.get(323, 0))
    if width * height > max_pixels:
        raise ImageTooLarge(f"the image has {width} x {height} pixels; at most {max_pixels} are accepted")


def _check_scans(image: Image.Image, data: bytes) -> None:
    if image.info.get("progressive") and len(_SCAN.findall(data)) > MAX_SCANS:
        raise UndecodableImage(f"the image is a JPEG of more than {MAX_SCANS} scans, which no encoder writes")


def frame_of(data: bytes) -> int | None:
    """The marker of a JPEG's first frame header, found as libjpeg finds it; None where there is none before a scan."""
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        while data[at : at + 1] == b"\xff":  # fill bytes
            at += 1
        marker = data[at] if at < len(data) else 0xD9
        at += 1
        if marker in _FRAMES:
            return marker
        if marker in (0xD9, 0xDA):  # the end, or compressed data
            return None
        if marker not in (0x00, 0x01) and not 0xD0 <= marker <= 0xD8:  # those have no length; 00 is no marker
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return None


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):
        return _in_strips(image, _from_16_bit(image))
    if image.mode in ("I", "F"):
        return _in_strips(image, _from_wide(image))
    return _in_strips(image, _on_white if image.has_transparency_data else _converted)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`convert` applied to some rows at a time: of a large image its intermediate copies would fill the memory."""
    canvas = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        canvas.paste(convert(strip), (0, top))
    return canvas


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, copy) of strips of `image`, from the top."""
    width, height = image.size
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _converted(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """On white: cut-out pictures are made for light pages, and the RGB under full transparency is arbitrary."""
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _from_16_bit(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """16-bit grey scaled to 8 bits (Pillow's own conversion clips at 255); 12-bit TIFF arrives in the same mode."""
    bits = image.tag_v2.get(258, (16,))[0] if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
    top = 4095 if bits == 12 else 65535

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip).astype(np.uint32)
        return Image.fromarray(((values * 255 + top // 2) // top).astype(np.uint8)).convert("RGB")

    return convert


def _from_wide(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Grey of 32-bit integers or floats, whose range no header states: taken as 0..1 (floats), 0..255 or 0..65535,
    whichever first holds every value, else stretched from its least to its greatest value.
    """
    extremes = [
        (float(values.min()), float(values.max())) for values in (_finite(strip) for _, strip in _strips(image))
    ]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = next((top for top in ranges if low >= 0 and high <= top), None)

    def convert(strip: Image.Image) -> Image.Image:
        values = _finite(strip)
        scale = top
        if scale is None:
            # Halves, because the difference of two float32 extremes overflows; 1 where there is nothing to stretch.
            values = values * np.float32(0.5) - np.float32(low / 2)
            scale = high / 2 - low / 2 or 1.0
        grey = np.rint(values / np.float32(scale) * 255).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")

    return convert


def _finite(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image).astype(np.float32))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none, or its block is damaged (which spoils no pixel).

    Called after `load`: Pillow turns TIFF upright there, and PNG may keep its EXIF behind the pixels.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _claims_accepted_format(data: bytes) -> bool:
    """Whether the first bytes are those of an accepted format, so that the fault lies behind them."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    avif = data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")
    return data.startswith(_SIGNATURES) or webp or avif
