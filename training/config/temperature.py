"""The section `temperature`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class TemperatureConfig:
    """One constant, or a function of head and pair within (low, high). What all methods have of it."""

    kind: Literal["constant", "adaptive"] = field(default="constant", metadata={"help": "constant or adaptive"})
    value: float = field(default=0.1, metadata={"help": "the constant; the level of adaptive ones", "above": 0})
    low: float = field(default=0.03, metadata={"help": "lower bound of adaptive temperatures", "above": 0})
    high: float = field(default=0.5, metadata={"help": "upper bound of adaptive temperatures", "above": 0})
    beta: float = field(default=1.0, metadata={"help": "weight of the regulariser Omega", "min": 0})
    eta: float = field(default=4.0, metadata={"help": "Omega(t) = eta log t + 1/t", "min": 0})

    @property
    def varies_between_images(self) -> bool:
        """Whether pairs of images have temperatures of their own, which an exported model then serves."""
        return False


@dataclass(frozen=True)
class ChannelTemperatureConfig(TemperatureConfig):
    """Of pairs of feature channels (Barlow Twins)."""


@dataclass(frozen=True)
class PairTemperatureConfig(TemperatureConfig):
    """Of pairs of images, or of each of the two."""

    of: Literal["pairs", "views", "similarity"] = field(
        default="pairs", metadata={"help": "pairs or views of images, learned; their similarity, fixed"}
    )
    hidden: int = field(default=128, metadata={"help": "width of the shared MLP phi", "min": 1})
    dim: int = field(default=32, metadata={"help": "width of phi's output", "min": 1})

    @property
    def varies_between_images(self) -> bool:
        """Whether pairs of images have temperatures of their own, which an exported model then serves."""
        return self.kind == "adaptive"
