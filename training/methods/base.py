"""What the loop asks of a method, and what a method tells of its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from training.config import Config
from training.model.model import AmclModel


@dataclass(frozen=True)
class Step:
    """Where the run stands: all that a method may depend on besides its state and its views.

    `number` counts steps of the run from 0; `progress` runs from 0 to 1 over the method's current stage.
    """

    number: int
    progress: float
    seed: int

    def generator(self, device: torch.device, purpose: int = 0) -> torch.Generator:
        """Random numbers as a function of (seed, number, purpose): a resumed run draws what it would have drawn."""
        words = np.random.SeedSequence([self.seed, self.number, purpose]).generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(words[0]) >> 1)


@dataclass(frozen=True)
class Seen:
    """What `monitor.statistics` looks at, detached.

    features: [N, D] of this process. anchors [C, n, d'] and candidates [C, M, d']: unit-norm head outputs, and positive
    [n] the column of each anchor's positive; None where a stage has no heads. own [n]: the column of the anchor itself,
    if it is among the candidates. numbers: further scalars, such as the terms of the loss.
    """

    features: Tensor
    anchors: Tensor | None = None
    candidates: Tensor | None = None
    positive: Tensor | None = None
    own: Tensor | None = None
    numbers: Mapping[str, Tensor] = field(default_factory=dict)


class Method(nn.Module):
    """A framework: `forward(views, step)` gives the loss. One file each; heads and temperature come from the config.

    Views are [2B, 3, S, S], the first views of B images, then the second. In a distributed run each process has its own
    B images and the loss is such that the mean of the processes' gradients is the gradient of the joint batch.
    """

    model: AmclModel

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = AmclModel(config)
        self.epochs = config.train.epochs

    def stages(self) -> Sequence[int]:
        """Epochs of each stage; every stage has an optimiser and a schedule of its own."""
        return [self.epochs]

    def enter(self, stage: int) -> None:
        """Called before the first step of a stage, and when a run resumes within it (before its state is loaded)."""

    def rate(self, name: str) -> float:  # noqa: ARG002
        """Learning rate of a parameter, as a multiple of the schedule's."""
        return 1.0

    def compile_backbones(self) -> None:
        """Have `torch.compile` translate, at their first call, the backbone and its momentum copies."""
        for part in self.modules():
            if type(part) is type(self.model.backbone):
                part.compile(dynamic=False)

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:
        """The loss, a scalar, and what was seen on the way."""
        raise NotImplementedError
