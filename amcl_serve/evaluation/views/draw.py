"""From uniform numbers to what is done to each view, for a whole batch at once, in NumPy.

Legend: V views an image, B images, N = V·B views, U uniform numbers a view.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.views.strengths import Strengths

_TRIES = 10  # of a crop's area and ratio before the fallback, as torchvision's RandomResizedCrop
_LOG_RATIO = math.log(4 / 3)
ORDERS = np.array(list(itertools.permutations(range(4))))  # of brightness, contrast, saturation, hue
_BLUR_SIGMA = (0.1, 2.0)

# Columns of the uniform numbers: the tries' areas, their ratios, and then:
_LEFT, _TOP, FLIP, _JITTERED, _ORDER = range(2 * _TRIES, 2 * _TRIES + 5)
_FACTORS = _ORDER + 1  # and the three after it: brightness, contrast, saturation, hue
_GREYED, _BLURRED, _SIGMA, _SOLARISED = range(_FACTORS + 4, _FACTORS + 8)
DRAWS = _SOLARISED + 1

# Columns of the parameters of `photometric`; what is off has factor 1, shift 0, sigma 0.
JITTER, ORDER, BRIGHTNESS, CONTRAST, SATURATION, HUE, GREY, SIGMA, SOLARISE = range(9)
PARAMETERS = 9

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """What is done to N views: boxes [N, 4] (left, top, right, bottom in pixels), flips [N], parameters [N, 9]."""

    boxes: Floats
    flips: npt.NDArray[np.bool_]
    parameters: npt.NDArray[np.float32]


def decide(u_VBU: Floats, widths_B: Floats, heights_B: Floats, both: tuple[Strengths, Strengths]) -> Drawn:
    """What to do, from uniform numbers [V, B, DRAWS] and the images' sizes in pixels; first views come first.

    `both` are the strengths of first and of second views; a third is done like a first.
    """
    parts = [_decide(u_BU, widths_B, heights_B, both[view % 2]) for view, u_BU in enumerate(u_VBU)]
    return Drawn(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _decide(
    u_BU: Floats, widths: Floats, heights: Floats, s: Strengths
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    return _boxes(u_BU, widths, heights, s.crop), u_BU[:, FLIP] < s.flip_p, _parameters(u_BU, s)


def _boxes(u_BU: Floats, widths: Floats, heights: Floats, smallest: float | None) -> Floats:
    """Random areas and ratios; the centred square where no try fits (a very long image), or where none is asked."""
    side = np.minimum(widths, heights)
    left, top = (widths - side) / 2, (heights - side) / 2
    centred = np.stack([left, top, left + side, top + side], 1)
    if smallest is None:
        return centred
    target = (widths * heights)[:, None] * (smallest + u_BU[:, :_TRIES] * (1 - smallest))
    ratio = np.exp((2 * u_BU[:, _TRIES : 2 * _TRIES] - 1) * _LOG_RATIO)
    w, h = np.round(np.sqrt(target * ratio)), np.round(np.sqrt(target / ratio))
    fits = (w > 0) & (w <= widths[:, None]) & (h > 0) & (h <= heights[:, None])
    first = fits.argmax(1)[:, None]
    w, h = np.take_along_axis(w, first, 1)[:, 0], np.take_along_axis(h, first, 1)[:, 0]
    left, top = np.floor(u_BU[:, _LEFT] * (widths - w + 1)), np.floor(u_BU[:, _TOP] * (heights - h + 1))
    return np.where(fits.any(1, keepdims=True), np.stack([left, top, left + w, top + h], 1), centred)


def _parameters(u_BU: Floats, s: Strengths) -> npt.NDArray[np.float32]:
    out = np.zeros((len(u_BU), PARAMETERS), np.float32)
    out[:, BRIGHTNESS : SATURATION + 1] = 1
    rows = u_BU[:, _JITTERED] < s.jitter_p
    u = u_BU[rows]
    out[rows, JITTER] = 1
    out[rows, ORDER] = np.floor(u[:, _ORDER] * len(ORDERS))
    strength = np.array(s.jitter[:3])
    low = np.maximum(0, 1 - strength)
    out[rows, BRIGHTNESS : SATURATION + 1] = low + u[:, _FACTORS : _FACTORS + 3] * (1 + strength - low)
    out[rows, HUE] = s.jitter[3] * (2 * u[:, _FACTORS + 3] - 1)
    out[:, GREY] = u_BU[:, _GREYED] < s.grey_p
    sigma = _BLUR_SIGMA[0] + u_BU[:, _SIGMA] * (_BLUR_SIGMA[1] - _BLUR_SIGMA[0])
    out[:, SIGMA] = np.where(u_BU[:, _BLURRED] < s.blur_p, sigma, 0)
    out[:, SOLARISE] = u_BU[:, _SOLARISED] < s.solarise_p
    return out
