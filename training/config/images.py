"""Sections of the images: `data`, where they come from; `augment`, their views; `eval`, those that judge a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PUBLISHED_AUGMENTATIONS = ("simclr", "moco", "simsiam", "barlow_twins", "lgp", "can")


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they enter the network."""

    spec: str = field(default="", metadata={"help": "set by --data"})
    eval_spec: str = field(default="", metadata={"help": "set by --eval"})
    image_size: int = field(default=64, metadata={"help": "pixels a side", "min": 8, "max": 1024})
    mean: tuple[float, float, float] = field(default=IMAGENET_MEAN, metadata={"help": "channel means, 0 to 1"})
    std: tuple[float, float, float] = field(default=IMAGENET_STD, metadata={"help": "channel deviations, 0 to 1"})
    workers: int = field(
        default=-1,
        metadata={"help": "processes that read and crop images; auto: by the cores", "min": 0, "max": 256, "auto": -1},
    )
    reduce: Literal["auto", "never"] = field(
        default="auto", metadata={"help": "auto: photographs are reduced once to what crops need; never: whole"}
    )
    cache: str = field(default="", metadata={"help": "set by --cache; empty: cache/ in the run's folder"})
    cache_gib: float = field(
        default=16.0, metadata={"help": "GiB that reduced photographs may take there; 0: no cache", "min": 0}
    )
    resident: Literal["auto", "always", "never"] = field(
        default="auto", metadata={"help": "keep all images on the device; auto: small ones of one size that fit"}
    )

    @property
    def early_size(self) -> int:
        """Pixels a side in the first steps; 0: as in all others."""
        return 0

    @property
    def early_share(self) -> float:
        """The share of the steps at `early_size`."""
        return 0.0


@dataclass(frozen=True)
class ResNetDataConfig(DataConfig):
    """For a network that takes images of any size, which may grow in the course of a run."""

    early_size: int = field(
        default=0, metadata={"help": "pixels a side in the first steps (ResNets); 0: image_size in all", "min": 0}
    )
    early_share: float = field(default=0.75, metadata={"help": "share of the steps at early_size", "min": 0, "max": 1})


@dataclass(frozen=True)
class AugmentConfig:
    """Kinds, as on the poster: a crop, b blur, c colour dropping, d colour distortion, e flip."""

    kinds: str = field(
        default="acde",
        metadata={
            "help": "letters of: a crop, b blur, c grey, d colour jitter, e flip; or a published set: "
            + ", ".join(PUBLISHED_AUGMENTATIONS)
        },
    )
    crop_min_scale: float = field(default=0.2, metadata={"help": "smallest crop, of the area", "above": 0, "max": 1})
    jitter_strength: float = field(default=0.5, metadata={"help": "SimCLR's: 1; on CIFAR 0.5", "min": 0})


@dataclass(frozen=True)
class EvalConfig:
    """What the --eval images say of the backbone: kNN, where they are labelled."""

    every: int = field(default=1, metadata={"help": "epochs between evaluations; 0: only at the end", "min": 0})
    k: int = field(default=20, metadata={"help": "neighbours", "min": 1})
    bank_limit: int = field(default=50_000, metadata={"help": "images of a train/ split used as the bank", "min": 1})
