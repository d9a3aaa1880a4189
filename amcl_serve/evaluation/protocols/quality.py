"""What can be seen of an image without a model: brightness, sharpness, sides. Marks what to look at, judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from amcl_serve.model.formats.files import is_fast, kind_of
from amcl_serve.model.pixels import upright

SIDE = 128  # pixels of the shorter side that brightness and sharpness are measured at, at most
DARK, LIGHT = 0.1, 0.9  # mean luma, of 1
BLURRY = 50.0  # variance of the Laplacian of the luma, which is in levels of 255
LONG = 3.0  # times the shorter side
ODD = 10.0  # times the median area, or its tenth


@dataclass(frozen=True)
class Quality:
    """Of one image."""

    width: int
    height: int
    brightness: float  # mean luma, in [0, 1]
    sharpness: float  # variance of the Laplacian of the luma at SIDE pixels


def quality(data: bytes) -> Quality:
    """Of a file. Raises what `upright` raises for one that is no image."""
    size = None
    kind = kind_of(data) if data else ""
    if kind and is_fast(kind, data):
        try:
            with Image.open(BytesIO(data), formats=(kind,)) as header:
                size = header.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            size = None  # `upright` says what is wrong
    image = upright(data, side=SIDE if size else 0)
    size = size or image.size
    image.thumbnail((4 * SIDE, 4 * SIDE))
    luma = np.asarray(image.convert("L"), np.float32)
    return Quality(*size, float(luma.mean() / 255), _sharpness(luma))


def _sharpness(luma: np.ndarray) -> float:
    if min(luma.shape) < 3:
        return float("nan")
    centre = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * centre
    return float(laplacian.var())


def oddities(all_: Sequence[Quality]) -> dict[str, list[int]]:
    """The places of images that are dark, light, blurry, long, or of an odd size, by that word; extreme ones first."""
    if not all_:
        return {}
    area = np.array([each.width * each.height for each in all_], float)
    brightness = np.array([each.brightness for each in all_])
    sharpness = np.array([each.sharpness for each in all_])
    aspect = np.array([max(each.width, each.height) / min(each.width, each.height) for each in all_])
    times = np.abs(np.log(area / np.median(area)))
    found = {
        "dark": (brightness, brightness < DARK),
        "light": (-brightness, brightness > LIGHT),
        # What is dark or light throughout has no edges either, and is named once.
        "blurry": (sharpness, (sharpness < BLURRY) & (brightness >= DARK) & (brightness <= LIGHT)),
        "long": (-aspect, aspect > LONG),
        "odd size": (-times, times > np.log(ODD)),
    }
    return {
        word: [int(place) for place in np.argsort(order, kind="stable") if those[place]]
        for word, (order, those) in found.items()
    }
