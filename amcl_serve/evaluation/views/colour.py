"""Colour distortion, colour dropping, blur and solarisation of one view, in NumPy. torchvision's definitions.

Legend: S pixels a side, P parameters a view (`draw`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.views.draw import BRIGHTNESS, GREY, JITTER, ORDER, ORDERS, SIGMA, SOLARISE

Floats = npt.NDArray[np.float32]

_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)  # torchvision's


def photometric(x_SS3: Floats, parameters_P: Floats) -> Floats:
    """Colour distortion, dropping, blur and solarisation of float32 [S, S, 3] in [0, 1], in this order."""
    if parameters_P[JITTER] > 0:
        for number in ORDERS[int(parameters_P[ORDER])].tolist():
            x_SS3 = _JITTER[number](x_SS3, parameters_P[BRIGHTNESS + number])
    if parameters_P[GREY] > 0:
        x_SS3 = np.broadcast_to(_luma(x_SS3), x_SS3.shape)
    if parameters_P[SIGMA] > 0:
        x_SS3 = blur(x_SS3, parameters_P[SIGMA])
    if parameters_P[SOLARISE] > 0:
        x_SS3 = np.where(x_SS3 >= 0.5, 1 - x_SS3, x_SS3)
    return x_SS3


def _luma(x: Floats) -> Floats:
    luma: Floats = x @ _LUMA
    return luma[..., None]


def brightness(x: Floats, factor: np.float32) -> Floats:
    """Multiplied, cut at 1."""
    out: Floats = (x * factor).clip(0, 1)
    return out


def contrast(x: Floats, factor: np.float32) -> Floats:
    """Away from the mean of the grey image, or towards it."""
    return (x * factor + _luma(x).mean() * (1 - factor)).clip(0, 1)


def saturation(x: Floats, factor: np.float32) -> Floats:
    """Away from grey, or towards it."""
    return (x * factor + _luma(x) * (1 - factor)).clip(0, 1)


def hue_shift(x: Floats, shift: np.float32) -> Floats:
    """Turn the hue by `shift` of a full turn, through HSV (Foley et al., the hexcone model)."""
    r, g, b = np.moveaxis(x, -1, 0)
    low = x.min(axis=-1)
    value = x.max(axis=-1)
    chroma = value - low
    some = np.maximum(chroma, np.float32(1e-12))
    hue = np.where(value == r, (g - b) / some, np.where(value == g, (b - r) / some + 2, (r - g) / some + 4))
    hue = (hue + 6 * shift) % 6
    # How much of the chroma each channel has: a trapezium around its own hue; red's is what is outside of one.
    shares = (np.abs(hue - 3) - 1, 2 - np.abs(hue - 2), 2 - np.abs(hue - 4))
    return np.stack([low + chroma * share.clip(0, 1) for share in shares], axis=-1)


def blur(x: Floats, sigma: np.float32) -> Floats:
    """Gaussian blur; the kernel is a tenth of the side, odd, at least 3 (SimCLR's choice)."""
    side = len(x)
    radius = max(1, round(0.1 * side) // 2)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1, dtype=np.float32) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        pads = [(0, 0)] * 3
        pads[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(x, pads, mode="reflect"), axis, 0)
        x = np.moveaxis(sum(padded[i : i + side] * kernel[i] for i in range(2 * radius + 1)), 0, axis)
    return x


_JITTER = (brightness, contrast, saturation, hue_shift)
