"""The section `train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """Length, optimiser and bookkeeping."""

    epochs: int = field(
        default=200, metadata={"help": "length of the schedule; auto: from the number of images", "min": 1, "auto": 0}
    )
    max_steps: int = field(default=0, metadata={"help": "stop early, schedule unbent; 0: never", "min": 0})
    batch_size: int = field(default=256, metadata={"help": "images a step, of all processes; two views each", "min": 2})
    accumulate: int = field(
        default=1, metadata={"help": "parts in which a batch passes the backbone, for less memory; 1: whole", "min": 1}
    )
    seed: int = field(default=0, metadata={"help": "of weights, order and augmentation", "min": 0})
    optimiser: Literal["sgd", "lars", "adamw"] = field(default="sgd", metadata={"help": "sgd, lars or adamw"})
    lr: float = field(default=0.06, metadata={"help": "rate at batch 128; scaled by batch_size/128", "above": 0})
    momentum: float = field(default=0.9, metadata={"help": "of SGD and LARS; AdamW's first", "min": 0, "max": 1})
    weight_decay: float = field(default=5e-4, metadata={"help": "not on biases, norms, temperatures", "min": 0})
    warmup_epochs: float = field(default=0.0, metadata={"help": "linear warm-up before the cosine", "min": 0})
    clip_norm: float = field(default=5.0, metadata={"help": "gradient norm is cut to this; 0: never", "min": 0})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:N, mps"})
    precision: Literal["auto", "fp32", "bf16"] = field(
        default="auto", metadata={"help": "bf16 autocast; auto: where the device computes it natively"}
    )
    threads: int = field(default=0, metadata={"help": "CPU threads; 0: all cores", "min": 0})
    log_every: int = field(default=20, metadata={"help": "steps between lines of metrics.jsonl", "min": 1})
    log_to: str = field(
        default="tensorboard", metadata={"help": "beside metrics.jsonl: tensorboard, wandb, mlflow, or none of them"}
    )
    checkpoint_every: int = field(default=200, metadata={"help": "steps between checkpoints", "min": 1})
    keep: int = field(default=1, metadata={"help": "how many of the last checkpoints are kept", "min": 1, "max": 1000})
    collapse_patience: int = field(
        default=1000,
        metadata={"help": "steps of nothing but collapse that end the run; 0: only warn", "min": 0},
    )

    init: str = field(default="", metadata={"help": "set by --init: the file that the weights began from"})
    init_hash: str = field(default="", metadata={"help": "set by --init: its SHA-256"})

    @property
    def compile(self) -> bool:
        """Whether `torch.compile` translates the network."""
        return False

    @property
    def keep_norms(self) -> bool:
        """Whether the backbone's batch norms keep the statistics that `--init` brought."""
        return False


@dataclass(frozen=True)
class ResNetTrainConfig(TrainConfig):
    """For a network that `torch.compile` makes faster."""

    compile: bool = field(default=False, metadata={"help": "torch.compile the network: minutes at first, faster steps"})
    keep_norms: bool = field(
        default=False, metadata={"help": "the backbone's batch norms keep the statistics that --init brought"}
    )
