"""Sections of the network: `backbone`, and the `heads` on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal


@dataclass(frozen=True)
class BackboneConfig:
    """The network that is kept."""

    name: str = field(
        default="resnet18",
        metadata={
            "help": "resnet18, resnet34, resnet50, vit; torchvision:NAME or timm:NAME for a network of theirs",
            "choices": ("resnet18", "resnet34", "resnet50", "vit"),
            "prefixes": ("torchvision:", "timm:"),
        },
    )
    stem: Literal["cifar", "small", "imagenet"] = field(
        default="small",
        metadata={"help": "ResNet: cifar: 3x3 stride 1; small: 3x3 stride 2; imagenet: 7x7 stride 2 and max-pool"},
    )
    width: int = field(
        default=64,
        metadata={"help": "ResNet: channels of the first stage; ViT: width of a token", "min": 4, "max": 2048},
    )
    depth: int = field(default=12, metadata={"help": "ViT: blocks", "min": 1, "max": 64})
    attention_heads: int = field(default=3, metadata={"help": "ViT: attention heads, a divisor of width", "min": 1})
    patch: int = field(default=8, metadata={"help": "ViT: side of a patch, a divisor of data.image_size", "min": 1})

    @property
    def named(self) -> bool:
        """Whether it is a network of torchvision's or timm's, which has a shape of its own."""
        return ":" in self.name


@dataclass(frozen=True)
class ViTConfig:
    """The network that is kept, of methods that show it some patches of an image only."""

    name: ClassVar[Literal["vit"]] = "vit"
    width: int = field(default=64, metadata={"help": "width of a token", "min": 4, "max": 2048})
    depth: int = field(default=12, metadata={"help": "blocks", "min": 1, "max": 64})
    attention_heads: int = field(default=3, metadata={"help": "attention heads, a divisor of width", "min": 1})
    patch: int = field(default=8, metadata={"help": "side of a patch, a divisor of data.image_size", "min": 1})

    @property
    def named(self) -> bool:
        """Whether it is a network of torchvision's or timm's: these cannot look at some patches only."""
        return False


@dataclass(frozen=True)
class HeadsConfig:
    """C heads of the same architecture and separate weights, a projector each."""

    shared_projector: ClassVar[bool] = False
    num: int = field(default=1, metadata={"help": "C", "min": 1, "max": 16})
    layers: int = field(default=2, metadata={"help": "linear layers of a projector", "min": 1, "max": 4})
    hidden: int = field(default=512, metadata={"help": "width of its hidden layers", "min": 1})
    dim: int = field(default=128, metadata={"help": "d', the width of a head's output", "min": 2})
    last_norm: bool = field(default=False, metadata={"help": "batch norm after a projector's last layer too"})

    @property
    def predictor_hidden(self) -> int:
        """Hidden width of a predictor behind each projector; 0: none."""
        return 0


@dataclass(frozen=True)
class PredictorHeadsConfig(HeadsConfig):
    """C heads, a projector with its predictor each (LGP, as MoCo v3)."""

    predictor_hidden: int = field(default=0, metadata={"help": "hidden width of a predictor; 0: none", "min": 0})


@dataclass(frozen=True)
class SharedProjectorConfig(HeadsConfig):
    """C heads, a predictor each on one projector (SimSiam, which collapses without predictors)."""

    shared_projector: ClassVar[bool] = True
    predictor_hidden: int = field(default=512, metadata={"help": "hidden width of a predictor", "min": 1})
