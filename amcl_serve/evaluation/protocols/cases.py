"""Thumbnails of the images that a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.protocols.look import Look
from amcl_serve.evaluation.result import Case
from amcl_serve.model.pixels import upright

SIDE = 128  # pixels of the longer side, at most
SHOWN = 8  # cases of a kind


def of_places(look: Look, title: str, places: Sequence[int], value: float | None = None) -> Case:
    """The dataset's own images; one that cannot be read any more has no thumbnail."""
    return Case(title, [look.name(place) for place in places], [picture(look, place) for place in places], value)


def picture(look: Look, place: int) -> bytes:
    """The JPEG thumbnail of the image at one place; empty where it cannot be read any more."""
    try:
        return thumbnail(upright(look.dataset.read(int(look.indices[place])), side=SIDE))
    except (AmclError, OSError):
        return b""


def of_pixels(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The JPEG thumbnail of uint8 [H, W, 3]."""
    return thumbnail(Image.fromarray(pixels))


def thumbnail(image: Image.Image) -> bytes:
    """JPEG, neither side longer than SIDE."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    stream = BytesIO()
    small.save(stream, "JPEG", quality=80)
    return stream.getvalue()
