"""Where a network comes from: a run of ours, torchvision or timm, an ONNX file; the build cannot tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from amcl_serve.model.bundle import InputSpec, TemperatureSpec
from export.networks import Network
from export.whiten import Kind, Whitening


@dataclass(frozen=True)
class About:
    """What the card says of a network before anything is made or measured."""

    method: str  # how it was trained
    recipe: str
    config: Mapping[str, Any]
    backbone: str
    feature_dim: int
    num_heads: int = 0
    head_dim: int = 0
    temperature: TemperatureSpec | None = None
    omega: tuple[float, float] = (1.0, 1.0)  # (β, η) of the training, for the heads' joint density
    whitening: Kind = "none"  # unless another is asked for, where there are images to fit it on
    training_data: str = "not stated"


class Source(Protocol):
    """A network in float32: it says what it is, runs, and writes its graph."""

    @property
    def about(self) -> About:
        """What it is."""

    @property
    def spec(self) -> InputSpec:
        """How images enter it."""

    @property
    def reference(self) -> tuple[Network, str]:
        """What every written file is compared with, and its name."""

    def whiten(self, whitening: Whitening) -> None:
        """Have the features pass `whitening` from now on, in `reference` too."""

    def write(self, path: Path) -> None:
        """Write the encoder in float32: `pixels` uint8 [N, S, S, 3] -> `features` and, where it has them, `heads`."""

    def write_temperature(self, path: Path) -> None:
        """Write the temperature of pairs, of a network that has heads."""

    def untrained(self) -> Source | None:
        """The same network before training, as far as that can be had."""
