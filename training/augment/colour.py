"""Colour distortion, colour dropping, blur and solarisation of a batch, on its device. torchvision's definitions.

Legend: N views, S pixels a side, P parameters a view (`training.augment.draw`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augment.device import put
from training.augment.draw import BRIGHTNESS, GREY, JITTER, ORDER, ORDERS, SIGMA, SOLARISE

_LUMA = (0.2989, 0.587, 0.114)  # torchvision's


def photometric(x_N3SS: Tensor, parameters_NP: Tensor) -> Tensor:
    """Colour distortion, dropping, blur and solarisation of float32 [N, 3, S, S] in [0, 1], in place, and back.

    The parameters stay on the CPU: which rows to touch is known there, and no step waits for the device to tell.
    """
    x = x_N3SS
    _jitter(x, parameters_NP)
    grey, _ = _rows(parameters_NP[:, GREY] > 0, x.device)
    if len(grey):
        x[grey] = _luma(x[grey]).expand(-1, 3, -1, -1)
    blurred, sigma = _rows(parameters_NP[:, SIGMA] > 0, x.device, parameters_NP[:, SIGMA])
    if len(blurred):
        x[blurred] = _blur(x[blurred], sigma)
    solarised, _ = _rows(parameters_NP[:, SOLARISE] > 0, x.device)
    if len(solarised):
        chosen = x[solarised]
        x[solarised] = torch.where(chosen >= 0.5, 1 - chosen, chosen)
    return x


def _rows(chosen_N: Tensor, device: torch.device, values_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """On the device: numbers of the chosen rows, and their values."""
    rows = chosen_N.nonzero().squeeze(1)
    values = rows if values_N is None else values_N[rows]
    return put(rows, device), put(values, device)


def _jitter(x: Tensor, parameters: Tensor) -> None:
    """Brightness, contrast, saturation and hue in each image's own order, in place."""
    orders = torch.from_numpy(ORDERS)[parameters[:, ORDER].long()]
    active = parameters[:, JITTER] > 0
    for position in range(4):
        for number, operation in enumerate(_OPERATIONS):
            chosen = active & (orders[:, position] == number)
            rows, values = _rows(chosen, x.device, parameters[:, BRIGHTNESS + number])
            if len(rows):
                x[rows] = operation(x[rows], values.view(-1, 1, 1, 1))


def _luma(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    return (_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b).unsqueeze(1)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return other.lerp(x, factor).clamp_(0, 1)


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(0, 1)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _luma(x).mean(dim=(1, 2, 3), keepdim=True).expand_as(x), factor)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _luma(x).expand_as(x), factor)


def _hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of a full turn, through HSV (Foley et al., the hexcone model)."""
    r, g, b = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    safe = chroma.clamp_min(1e-12)
    hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4))
    hue = hue + 6 * shift.view(-1, 1, 1)
    out = torch.empty_like(x)
    for channel, offset in enumerate((5, 3, 1)):
        k = torch.remainder(hue + offset, 6)
        out[:, channel] = value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)
    return out


_OPERATIONS = (_brightness, _contrast, _saturation, _hue)


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a sigma per image; the kernel is a tenth of the side, odd, at least 3 (SimCLR's choice)."""
    radius = max(1, round(0.1 * x.shape[-1]) // 2)
    offsets = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.view(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    side = x.shape[-1]
    for axis in (2, 3):
        pad = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded = F.pad(x, pad, mode="reflect")
        x = sum(
            (padded.narrow(axis, i, side) * kernel[:, i].view(-1, 1, 1, 1) for i in range(2 * radius + 1)),
            start=torch.zeros((), device=x.device),
        )
    return x
