"""Two views of an image, as a function of (seed, epoch, image) alone: a resumed run sees what it would have seen.

Kinds, as on the poster: a crop, b blur, c colour dropping, d colour distortion, e flip. Crop and flip happen per image,
where it is read (`Augmentation.crop`); colours and blur happen for the whole batch, on the training device
(`photometric`). Parameters follow SimCLR (Chen et al. 2020, appendix A) at its CIFAR strengths, except the
smallest crop (see `training.recipes`); operations follow torchvision's definitions.

Legend: B images, V views each, N = B·V, S pixels a side.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from amcl_serve.images import fit
from training.config import AugmentConfig

_TRIES = 10  # of a crop's area and ratio before the fallback, as torchvision's RandomResizedCrop
_DRAWS = 2 * _TRIES + 12  # uniform numbers a view
_ORDERS = list(itertools.permutations(range(4)))  # of brightness, contrast, saturation, hue
_LUMA = (0.2989, 0.587, 0.114)  # torchvision's
_BLUR_SIGMA = (0.1, 2.0)

# Columns of `photometric`'s parameters.
_JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GREY, _SIGMA = range(8)
PARAMETERS = 8

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """What a preset does; `parameters` and `crop` run on CPU workers, `photometric` on the device."""

    config: AugmentConfig
    size: int

    def draw(self, seed: int, epoch: int, index: int, views: int = 2) -> Array:
        """Uniform numbers [V, draws] that decide everything about the views of image `index` in `epoch`."""
        bits = np.random.Philox(key=seed, counter=[0, 0, index, epoch])
        return np.random.Generator(bits).random((views, _DRAWS))

    def crop(self, image: Image.Image, u: Array) -> npt.NDArray[np.uint8]:
        """Random resized crop and flip of an RGB image by one row of `draw`: uint8 [S, S, 3]."""
        width, height = image.size
        box = self._box(width, height, u) if "a" in self.config.kinds else None
        view = (
            fit(image, self.size)
            if box is None
            else image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        )
        if "e" in self.config.kinds and u[2 * _TRIES + 2] < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(view)

    def parameters(self, u: Array) -> npt.NDArray[np.float32]:
        """Parameters [8] of `photometric` from one row of `draw`; "off" is factor 1, shift 0, sigma 0."""
        kinds, strength = self.config.kinds, self.config.jitter_strength
        v = u[2 * _TRIES + 3 :]
        out = np.array([0, 0, 1, 1, 1, 0, 0, 0], np.float32)
        if "d" in kinds and v[0] < 0.8:
            spread = 0.8 * strength
            factors = [max(0.0, 1 - spread) + x * (1 + spread - max(0.0, 1 - spread)) for x in v[2:5]]
            out[:6] = [1, math.floor(v[1] * len(_ORDERS)), *factors, min(0.5, 0.2 * strength) * (2 * v[5] - 1)]
        if "c" in kinds and v[6] < 0.2:
            out[_GREY] = 1
        if "b" in kinds and v[7] < 0.5:
            out[_SIGMA] = _BLUR_SIGMA[0] + v[8] * (_BLUR_SIGMA[1] - _BLUR_SIGMA[0])
        return out

    def _box(self, width: int, height: int, u: Array) -> tuple[int, int, int, int] | None:
        """Of the crop; None when no try fits, as in a very long image: then the centre is taken."""
        area = width * height
        for trial in range(_TRIES):
            target = area * (self.config.crop_min_scale + u[trial] * (1 - self.config.crop_min_scale))
            ratio = math.exp((2 * u[_TRIES + trial] - 1) * math.log(4 / 3))
            w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = math.floor(u[2 * _TRIES] * (width - w + 1))
                top = math.floor(u[2 * _TRIES + 1] * (height - h + 1))
                return left, top, left + w, top + h
        return None


def photometric(pixels_NSS3: Tensor, parameters_N8: Tensor) -> Tensor:
    """Colour distortion, dropping and blur: uint8 [N, S, S, 3], float32 [N, 8] -> float32 [N, 3, S, S] in [0, 1].

    The parameters stay on the CPU: which rows to touch is known there, and no step waits for the device to tell.
    """
    x = pixels_NSS3.permute(0, 3, 1, 2).contiguous().float().div_(255)
    _jitter(x, parameters_N8)
    grey, _ = _rows(parameters_N8[:, _GREY] > 0, x.device)
    if len(grey):
        x[grey] = _luma(x[grey]).expand(-1, 3, -1, -1)
    blurred, sigma = _rows(parameters_N8[:, _SIGMA] > 0, x.device, parameters_N8[:, _SIGMA])
    if len(blurred):
        x[blurred] = _blur(x[blurred], sigma)
    return x


def _rows(chosen_N: Tensor, device: torch.device, values_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """On the device: numbers of the chosen rows, and their values."""
    rows = chosen_N.nonzero().squeeze(1)
    values = rows if values_N is None else values_N[rows]
    return rows.to(device, non_blocking=True), values.to(device, non_blocking=True)


def views(
    image: npt.NDArray[np.uint8], *, preset: str, size: int, seed: int, epoch: int, index: int, count: int = 2
) -> npt.NDArray[np.uint8]:
    """`count` views of one image, uint8 [H, W, 3] -> [count, S, S, 3], by the preset's kinds (such as "abcde")."""
    augmentation = Augmentation(AugmentConfig(kinds=preset), size)
    u = augmentation.draw(seed, epoch, index, count)
    source = Image.fromarray(image)
    pixels = torch.from_numpy(np.stack([augmentation.crop(source, row) for row in u]))
    parameters = torch.from_numpy(np.stack([augmentation.parameters(row) for row in u]))
    out = photometric(pixels, parameters).mul_(255).round_().clamp_(0, 255).byte()
    return out.permute(0, 2, 3, 1).contiguous().numpy()


def _jitter(x: Tensor, parameters: Tensor) -> None:
    """Brightness, contrast, saturation and hue in each image's own order, in place."""
    orders = torch.tensor(_ORDERS)[parameters[:, _ORDER].long()]
    active = parameters[:, _JITTER] > 0
    for position in range(4):
        for number, operation in enumerate(_OPERATIONS):
            chosen = active & (orders[:, position] == number)
            rows, values = _rows(chosen, x.device, parameters[:, _BRIGHTNESS + number])
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
