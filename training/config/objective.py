"""Sections of what a method asks of the network: `loss`, `momentum` and `masked`, for each method its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ContrastConfig:
    """Which candidates the positive is set against, and who judges them (SimCLR, MoCo, LGP, CAN)."""

    heads: Literal["separate", "joint"] = field(
        default="separate",
        metadata={"help": "separate: a loss for each head; joint: one for all, whose logits add up"},
    )
    negatives: Literal["posterior", "topk", "max"] = field(
        default="posterior",
        metadata={"help": "posterior: all candidates; topk: the top_k most similar; max: only the most similar"},
    )
    top_k: int = field(default=16, metadata={"help": "candidates of negatives=topk", "min": 1})
    positive_in_denominator: bool = field(default=True, metadata={"help": "false: the poster's NT-Xent"})


@dataclass(frozen=True)
class CorrelationConfig:
    """How channels are set against each other (Barlow Twins)."""

    redundancy: float = field(default=5e-3, metadata={"help": "lambda, weight of the off-diagonal", "min": 0})


@dataclass(frozen=True)
class MomentumConfig:
    """The momentum encoder (MoCo, LGP)."""

    start: float = field(default=0.99, metadata={"help": "momentum of the encoder's average", "min": 0, "max": 1})
    end: float = field(default=0.99, metadata={"help": "its value at the end of the schedule", "min": 0, "max": 1})


@dataclass(frozen=True)
class QueueConfig(MomentumConfig):
    """The momentum encoder and the queue of its keys (MoCo)."""

    queue: int = field(default=4096, metadata={"help": "keys kept", "min": 1})
    symmetric: bool = field(default=True, metadata={"help": "both views are queries in turn"})
    splits: int = field(
        default=8, metadata={"help": "shuffled parts of the keys, each with a batch norm of its own", "min": 1}
    )


@dataclass(frozen=True)
class MaskedConfig:
    """Masked patches and the decoder that reconstructs them (LGP's first stage, which is MAE; CAN)."""

    ratio: float = field(
        default=0.75, metadata={"help": "share of the patches that are hidden", "above": 0, "max": 0.95}
    )
    decoder_width: int = field(default=128, metadata={"help": "width of a decoder token", "min": 4})
    decoder_depth: int = field(default=2, metadata={"help": "blocks of the decoder", "min": 1})
    decoder_heads: int = field(default=4, metadata={"help": "its attention heads, a divisor of its width", "min": 1})


@dataclass(frozen=True)
class GraftConfig(MaskedConfig):
    """A stage of masked images before that of contrast (LGP)."""

    epochs: int = field(default=100, metadata={"help": "epochs of the first stage", "min": 1})
    lower_rate: float = field(
        default=0.1, metadata={"help": "learning rate of the lower two thirds, of the upper's", "min": 0, "max": 1}
    )


@dataclass(frozen=True)
class DenoisingConfig(MaskedConfig):
    """Masked and noisy images in every step, beside contrast (CAN)."""

    contrast: float = field(default=0.03, metadata={"help": "weight of InfoNCE", "min": 0})
    reconstruction: float = field(default=0.67, metadata={"help": "weight of hidden patches", "min": 0})
    noise: float = field(default=0.30, metadata={"help": "weight of the noise's prediction", "min": 0})
    noise_max: float = field(default=0.05, metadata={"help": "the noise's largest deviation", "min": 0})
