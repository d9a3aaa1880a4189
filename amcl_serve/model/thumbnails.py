"""Thumbnails: something to see of an image that is otherwise gone."""

from __future__ import annotations

from io import BytesIO

from amcl_serve.model.pixels import upright

SIDE = 128  # pixels of the longer side, at most
MAX_BYTES = 16 * 1024
MEDIA_TYPE = "image/webp"
_QUALITIES = (75, 50, 25, 1)  # the last leaves 5 KB of noise
_EFFORT = 1  # of WebP's 0 to 6: the default, 4, makes a file a tenth smaller in twice the time


def thumbnail(data: bytes, *, max_pixels: int, accept_truncated: bool = False) -> bytes:
    """All of an image, upright, as a WebP file of MAX_BYTES at most, neither side longer than SIDE; never enlarged.

    Colours and errors are those of `decode`.
    """
    image = upright(data, max_pixels=max_pixels, accept_truncated=accept_truncated, side=SIDE)
    image.thumbnail((SIDE, SIDE))
    for quality in _QUALITIES:
        stream = BytesIO()
        image.save(stream, "WEBP", quality=quality, method=_EFFORT)
        if stream.tell() <= MAX_BYTES:
            break
    return stream.getvalue()
