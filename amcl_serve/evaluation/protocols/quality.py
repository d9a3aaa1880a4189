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
FLAT = 3.0  # bits of the luma's histogram, of 8
GREY = 3.0  # levels of 255 between the channels of a pixel, on average


@dataclass(frozen=True)
class Quality:
    """Of one image."""

    width: int
    height: int
    brightness: float  # mean luma, in [0, 1]
    sharpness: float  # variance of the Laplacian of the luma at SIDE pixels
    entropy: float  # bits of the luma's histogram, in [0, 8]
    colour: float  # mean over pixels of the largest channel less the smallest, in levels of 255


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
    levels = np.asarray(image.convert("L"))
    luma = levels.astype(np.float32)
    return Quality(*size, float(luma.mean() / 255), _sharpness(luma), _entropy(levels), _colour(image))


def _sharpness(luma: np.ndarray) -> float:
    if min(luma.shape) < 3:
        return float("nan")
    centre = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * centre
    return float(laplacian.var())


def _entropy(levels: np.ndarray) -> float:
    share = np.bincount(levels.ravel(), minlength=256) / levels.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _colour(image: Image.Image) -> float:
    pixels = np.asarray(image.convert("RGB"))[::2, ::2]  # every other one says as much
    red, green, blue = (pixels[..., channel] for channel in range(3))
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((high - low).mean())


def oddities(all_: Sequence[Quality]) -> dict[str, list[int]]:
    """The places of images that are dark, light, flat, blurry, long, of an odd size or grey, by word; extreme first.

    Grey ones are of interest among coloured ones: where half of the images or more are grey, none is named.
    """
    if not all_:
        return {}
    area = np.array([each.width * each.height for each in all_], float)
    brightness = np.array([each.brightness for each in all_])
    sharpness = np.array([each.sharpness for each in all_])
    aspect = np.array([max(each.width, each.height) / min(each.width, each.height) for each in all_])
    times = np.abs(np.log(area / np.median(area)))
    entropy, colour = np.array([each.entropy for each in all_]), np.array([each.colour for each in all_])
    # What is dark or light throughout is flat and without edges too, and is named once.
    plain = (brightness >= DARK) & (brightness <= LIGHT)
    grey = colour < GREY
    found = {
        "dark": (brightness, brightness < DARK),
        "light": (-brightness, brightness > LIGHT),
        "low information": (entropy, (entropy < FLAT) & plain),
        "blurry": (sharpness, (sharpness < BLURRY) & (entropy >= FLAT) & plain),
        "long": (-aspect, aspect > LONG),
        "odd size": (-times, times > np.log(ODD)),
        "greyscale": (colour, grey & (grey.mean() < 0.5)),
    }
    return {
        word: [int(place) for place in np.argsort(order, kind="stable") if those[place]]
        for word, (order, those) in found.items()
    }
