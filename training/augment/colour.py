"""Colour distortion, colour dropping, blur and solarisation of a batch, on its device. torchvision's definitions.

Legend: N views, n of them chosen, S pixels a side, P parameters a view (`training.augment.draw`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augment.device import put
from training.augment.draw import BRIGHTNESS, GREY, JITTER, ORDER, ORDERS, SIGMA, SOLARISE

_LUMA = (0.2989, 0.587, 0.114)  # torchvision's
_CACHED_PIXELS = 1 << 16  # of so many an operation's temporary values stay in the caches of a few cores

Operation = Callable[[Tensor, Tensor], Tensor]  # views [n, 3, S, S], one value each [n, 1, 1, 1] -> views


def photometric(x_N3SS: Tensor, parameters_NP: Tensor) -> Tensor:
    """Colour distortion, dropping, blur and solarisation of float32 [N, 3, S, S] in [0, 1], in place, and back.

    The parameters stay on the CPU: which rows to touch is known there, and no step waits for the device to tell.
    """
    orders = torch.from_numpy(ORDERS)[parameters_NP[:, ORDER].long()]
    jittered = parameters_NP[:, JITTER] > 0
    for position in range(4):
        for number, operation in enumerate((_brightness, _contrast, _saturation, _hue)):
            chosen = jittered & (orders[:, position] == number)
            _apply(operation, x_N3SS, chosen, parameters_NP[:, BRIGHTNESS + number])
    for column, operation in ((GREY, _grey), (SIGMA, _blur), (SOLARISE, _solarise)):
        _apply(operation, x_N3SS, parameters_NP[:, column] > 0, parameters_NP[:, column])
    return x_N3SS


def _apply(operation: Operation, x: Tensor, chosen_N: Tensor, values_N: Tensor) -> None:
    """The operation on the chosen views, in place."""
    rows = chosen_N.nonzero().squeeze(1)
    if not len(rows):
        return
    at_once = max(1, _CACHED_PIXELS // x[0, 0].numel()) if x.device.type == "cpu" else len(rows)
    values = values_N[rows].view(-1, 1, 1, 1)
    parts = (torch.split(put(each, x.device), at_once) for each in (rows, values))
    for part, value in zip(*parts, strict=True):
        x[part] = operation(x[part], value)


def _luma(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    return (_LUMA[0] * r).add_(_LUMA[1] * g).add_(_LUMA[2] * b).unsqueeze(1)


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(0, 1)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return _luma(x).mean(dim=(1, 2, 3), keepdim=True).lerp(x, factor).clamp_(0, 1)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return _luma(x).lerp(x, factor).clamp_(0, 1)


def _hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of a full turn, through HSV (Foley et al., the hexcone model)."""
    r, g, b = x.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    # Choices between channels are products with 0 and 1 (exact), for PyTorch's comparisons to booleans are slow on CPU.
    red, green = (torch.eq(value, channel, out=torch.empty_like(value)) for channel in (r, g))
    hue = torch.lerp(r - g, b - r, green).lerp_(g - b, red).div_(chroma.clamp_min(1e-12))
    hue += (4 - 2 * green).mul_(1 - red)
    hue += 6 * shift.squeeze(1)
    k = hue.unsqueeze(1) + put(torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype).view(3, 1, 1), x.device)
    k.sub_((k / 6).floor_(), alpha=6)
    return value.unsqueeze(1) - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma.unsqueeze(1))


def _grey(x: Tensor, _on: Tensor) -> Tensor:
    return _luma(x).expand_as(x)


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a sigma per image; the kernel is a tenth of the side, odd, at least 3 (SimCLR's choice)."""
    side = x.shape[-1]
    radius = max(1, round(0.1 * side) // 2)
    offsets = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum(3, keepdim=True)
    for axis, pad in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(x, pad, mode="reflect")
        x = padded.narrow(axis, 0, side) * kernel[..., :1]
        for i in range(1, 2 * radius + 1):
            x += padded.narrow(axis, i, side) * kernel[..., i : i + 1]
    return x


def _solarise(x: Tensor, _on: Tensor) -> Tensor:
    return torch.where(x >= 0.5, 1 - x, x)
