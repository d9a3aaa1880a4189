"""Colour distortion, colour dropping, blur and solarisation of a batch, on its device. torchvision's definitions.

Legend: N views, n of them chosen, S pixels a side, P parameters a view (`amcl_serve.evaluation.views.draw`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amcl_serve.evaluation.views.draw import BRIGHTNESS, GREY, JITTER, ORDER, ORDERS, SIGMA, SOLARISE
from training.machine.transfer import put

_LUMA = (0.2989, 0.587, 0.114)  # torchvision's
_CACHED_PIXELS = 1 << 16  # of so many an operation's temporary values stay in the caches of a few cores

Operation = Callable[[Tensor, Tensor], Tensor]  # views [n, 3, S, S], free to change, one value each -> views


def photometric(x_N3SS: Tensor, parameters_NP: Tensor) -> Tensor:
    """Colour distortion, dropping, blur and solarisation of float32 [N, 3, S, S] in [0, 1], in place, and back.

    The parameters stay on the CPU: which rows to touch is known there, and no step waits for the device to tell.
    """
    jitter = _by_order if x_N3SS.device.type == "cpu" else _by_position
    for chosen, operations in jitter(parameters_NP):
        _apply([(_JITTER[number], BRIGHTNESS + number) for number in operations], x_N3SS, chosen, parameters_NP)
    for operation, column in ((grey, GREY), (blur, SIGMA), (solarise, SOLARISE)):
        _apply([(operation, column)], x_N3SS, parameters_NP[:, column] > 0, parameters_NP)
    return x_N3SS


def _by_order(parameters_NP: Tensor) -> Iterator[tuple[Tensor, Sequence[int]]]:
    """Views that share their order of the four operations: each is fetched and put back once."""
    numbers = torch.where(parameters_NP[:, JITTER] > 0, parameters_NP[:, ORDER], len(ORDERS))
    for number, order in enumerate(ORDERS.tolist()):
        yield numbers == number, order


def _by_position(parameters_NP: Tensor) -> Iterator[tuple[Tensor, Sequence[int]]]:
    """Views that share one operation, first to fourth: for a GPU, a few operations on many views."""
    orders = torch.from_numpy(ORDERS)[parameters_NP[:, ORDER].long()]
    for position in range(4):
        for number in range(4):
            yield (parameters_NP[:, JITTER] > 0) & (orders[:, position] == number), (number,)


def _apply(operations: Sequence[tuple[Operation, int]], x: Tensor, chosen_N: Tensor, parameters_NP: Tensor) -> None:
    """The operations, each with its column of the parameters, on the chosen views, in place."""
    rows = chosen_N.nonzero().squeeze(1)
    if not len(rows):
        return
    at_once = max(1, _CACHED_PIXELS // x[0, 0].numel()) if x.device.type == "cpu" else len(rows)
    parts = (torch.split(put(each, x.device), at_once) for each in (rows, parameters_NP[rows]))
    for part, values in zip(*parts, strict=True):
        views = x.index_select(0, part)
        for operation, column in operations:
            views = operation(views, values[:, column].view(-1, 1, 1, 1))
        x.index_copy_(0, part, views)


def _luma(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    return (_LUMA[0] * r).add_(_LUMA[1] * g).add_(_LUMA[2] * b).unsqueeze(1)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Multiplied, cut at 1."""
    return x.mul_(factor).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean of the grey image, or towards it."""
    mean = _luma(x).mean(dim=(1, 2, 3), keepdim=True)
    return x.mul_(factor).add_(mean.mul_(1 - factor)).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Away from grey, or towards it."""
    luma = _luma(x)
    return x.mul_(factor).add_(luma.mul_(1 - factor)).clamp_(0, 1)


def hue_shift(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of a full turn, through HSV (Foley et al., the hexcone model)."""
    r, g, b = x.unbind(1)
    value = torch.maximum(r, g).maximum(b)
    low = torch.minimum(r, g).minimum(b)
    chroma = value - low
    # Choices between channels are products with 0 and 1 (exact), for PyTorch's comparisons to booleans are slow on CPU.
    red, green = (torch.eq(value, channel, out=torch.empty_like(value)) for channel in (r, g))
    hue = torch.lerp(r - g, b - r, green).lerp_(g - b, red).div_(chroma.clamp_min(1e-12))
    hue += green.mul_(-2).add_(4).mul_(red.neg_().add_(1))
    hue += 6 * shift.squeeze(1)
    hue.sub_((hue / 6).floor_(), alpha=6)
    # How much of the chroma each channel has: a trapezium around its own hue; red's is what is outside of one.
    for channel, centre, sign, offset in ((r, 3, 1, -1), (g, 2, -1, 2), (b, 4, -1, 2)):
        share = (hue - centre).abs_().mul_(sign).add_(offset).clamp_(0, 1)
        torch.addcmul(low, chroma, share, out=channel)
    return x


def grey(x: Tensor, _on: Tensor) -> Tensor:
    """The luma in all three channels."""
    return _luma(x).expand_as(x)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
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


def solarise(x: Tensor, _on: Tensor) -> Tensor:
    """Inverted from one half on."""
    return torch.where(x >= 0.5, 1 - x, x)


_JITTER = (brightness, contrast, saturation, hue_shift)
