"""How images enter a network from elsewhere: what its author says, what the user says, and ImageNet's habits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from amcl_serve.model.bundle import InputSpec, Interpolation
from export.errors import UsageError
from export.networks import Pixels
from training.config.images import IMAGENET_MEAN, IMAGENET_STD

Colour = tuple[float, float, float]

T = TypeVar("T")

_SIZE, _CROP = 224, 0.875
_INTERPOLATION: Interpolation = "bicubic"


@dataclass(frozen=True)
class Wishes:
    """What the user asks for; None: what the network's author says, else ImageNet's habit."""

    size: int | None = None
    mean: Colour | None = None
    std: Colour | None = None
    interpolation: Interpolation | None = None
    crop: float | None = None


@dataclass(frozen=True)
class Preprocessing:
    """`spec` says which pixels; they become x = (pixels / 255 - mean) / std = pixels · scale + shift."""

    spec: InputSpec
    mean: Colour
    std: Colour

    @property
    def scale(self) -> npt.NDArray[np.float32]:
        """Of each colour, float32 [3]."""
        return np.asarray(1 / (255 * np.asarray(self.std)), np.float32)

    @property
    def shift(self) -> npt.NDArray[np.float32]:
        """Of each colour, float32 [3]."""
        return np.asarray(-np.asarray(self.mean) / np.asarray(self.std), np.float32)

    def normalised(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """x float32 [N, S, S, 3] of pixels uint8 [N, S, S, 3]."""
        return pixels.astype(np.float32) * self.scale + self.shift

    def config(self) -> dict[str, object]:
        """For the card's config."""
        return {"mean": list(self.mean), "std": list(self.std)}


def preprocessing(wishes: Wishes, known: Wishes, name: str) -> Preprocessing:
    """What `wishes` says, else what is `known` of the network `name`, else ImageNet's habit, which is then printed.

    UsageError for a share or a deviation that is none.
    """
    assumed: list[str] = []

    def chosen(option: str, wished: T | None, known: T | None, habit: T) -> T:
        if wished is not None or known is not None:
            return wished if wished is not None else cast(T, known)
        assumed.append(f"--{option} {','.join(map(str, habit)) if isinstance(habit, tuple) else habit}")
        return habit

    size = chosen("image-size", wishes.size, known.size, _SIZE)
    mean = chosen("mean", wishes.mean, known.mean, IMAGENET_MEAN)
    std = chosen("std", wishes.std, known.std, IMAGENET_STD)
    interpolation = chosen("interpolation", wishes.interpolation, known.interpolation, _INTERPOLATION)
    crop = chosen("crop", wishes.crop, known.crop, _CROP)
    if assumed:
        print(f"note: {name} does not say how it wants images; ImageNet's habit is taken: {' '.join(assumed)}")
    if not 0 < crop <= 1:
        raise UsageError(f"--crop {crop}: give the share of the shorter side that is kept, above 0, at most 1")
    if not all(0 < value < np.inf for value in std):
        raise UsageError(f"--std {std}: deviations are above 0")
    if not all(-1 <= value <= 1 for value in mean):
        raise UsageError(f"--mean {mean}: means are of pixels from 0 to 1; divide those of 0 to 255 by 255")
    return Preprocessing(InputSpec(size=size, interpolation=interpolation, crop=crop), mean, std)


def colours(option: str, text: str) -> Colour:
    """`0.5,0.5,0.5` -> its three numbers; UsageError, naming `option`, for anything else."""
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r}: give three numbers, red, green and blue, such as 0.5,0.5,0.5") from None
    return red, green, blue
