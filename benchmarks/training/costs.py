"""The six methods, standard and adaptive: parameters, FLOPs and step time, as a table in Markdown."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training.turns import Pace, alternate
from training.config import Config, recipes
from training.machine.precision import mixed_precision
from training.methods.base import Step
from training.model.momentum import MomentumEncoder
from training.model.normalise import normalise
from training.run.trainer import Trainer

HEADER = (
    "| method | | parameters trained (served), M | forward of a step, GFLOPs an image | step, ms an image "
    "| over standard: parameters, FLOPs, time |\n| --- | --- | --- | --- | --- | --- |"
)


def rows(configure: Callable[[Config], Config], pace: Pace) -> Iterator[str]:
    """A row for each method and kind, of the configs that `configure` makes of the recipes.

    LGP is measured in its second stage, which has the heads; the first is the same for both.
    """
    for name, recipe in recipes.RECIPES.items():
        configs = [configure(recipe()), configure(recipes.adaptive(recipe()))]
        with tempfile.TemporaryDirectory() as folder:
            standard, adaptive = (_Measured(config, Path(folder) / config.temperature.kind) for config in configs)
            blocks = alternate(adaptive.run, standard.run, standard.trainer.device, pace)
            for one in (standard, adaptive):
                one.close()
        ratios = (adaptive.trained / standard.trained, adaptive.flops / standard.flops, 1 / blocks.speedup)
        over = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        adaptive_rate, standard_rate = blocks.rates(configs[0].train.batch_size)
        yield f"| {name} | standard | {standard.counts()} | {1e3 / standard_rate:.2f} | |"
        yield f"| | adaptive | {adaptive.counts()} | {1e3 / adaptive_rate:.2f} | {over} |"


class _Measured:
    """A method in its last stage, its counts, and steps on fixed views."""

    def __init__(self, config: Config, out: Path) -> None:
        self.trainer = Trainer(config, out, None)
        method, self.config = self.trainer.method, self.trainer.config
        self.trainer.step = sum(self.trainer.ends[:-1])
        self.trainer.enter(len(self.trainer.ends) - 1)
        averages = [module for module in method.modules() if isinstance(module, MomentumEncoder)]
        copied = sum(p.numel() for module in averages for p in module.parameters())
        self.trained = sum(p.numel() for p in method.parameters()) - copied
        self.served = sum(p.numel() for p in method.model.parameters())
        side = config.data.image_size
        self.views = torch.rand(2 * config.train.batch_size, 3, side, side, device=self.trainer.device)
        self.flops = self._forward_flops(self.views) / config.train.batch_size

    def _forward_flops(self, views_N3SS: Tensor) -> int:
        """Products and sums of matrix products, convolutions and attention in a step's forward pass."""
        narrow = mixed_precision(self.trainer.device, self.config.train)
        with narrow, FlopCounterMode(display=False) as counter:
            self.trainer.method(normalise(views_N3SS, self.config.data), Step(0, 0.0, 0))
        return counter.get_total_flops()

    def counts(self) -> str:
        """Two cells of the row."""
        return f"{self.trained / 1e6:.2f} ({self.served / 1e6:.2f}) | {self.flops / 1e9:.3f}"

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.trainer.train_step(self.views)

    def close(self) -> None:
        """Close the run's files."""
        self.trainer.reporter.close()
