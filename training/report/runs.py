"""A run as the report sees it: its network, what to call it, and its training curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training import config as configs
from training import machine
from training.config import Config
from training.model import model
from training.model.model import AmclModel
from training.model.temperature import ConstantTemperature
from training.run import checkpoint, journal

CURVES = ("loss", "knn", "label_free/pair_auroc_abcde", "effective_rank")
_POINTS = 300  # of a curve, so that figures stay small


@dataclass(frozen=True)
class Run:
    """One network to measure. `config` is that of the run, at full precision."""

    name: str
    model: AmclModel
    config: Config
    step: int
    curves: Mapping[str, list[tuple[float, float]]]  # of CURVES: (epoch, value) of each point, where there is any

    @property
    def device(self) -> torch.device:
        """Where its network is."""
        return machine.device(self.config)

    @property
    def adaptive(self) -> bool:
        """Whether its pairs have temperatures of their own."""
        return not isinstance(self.model.temperature, ConstantTemperature)

    @property
    def title(self) -> str:
        """Method, number of heads, kind of temperature, in words."""
        temperature = "adaptive τ" if self.adaptive else f"constant τ = {self.config.temperature.value:g}"
        return f"{self.config.recipe}, C = {self.config.heads.num}, {temperature}"


def open_run(path: Path, device: str) -> Run:
    """The run in folder `path`, or of a checkpoint file, on `device` (auto, cpu, cuda, cuda:N), in full precision.

    ValueError when there is none or the device is not there.
    """
    step = int(checkpoint.load(path)["step"])
    network, config = checkpoint.load_model(path)
    train = dataclasses.replace(config.train, device=device, precision="fp32", threads=0)
    config = machine.resolve(configs.validate(dataclasses.replace(config, train=train)))
    folder = path if path.is_dir() else path.parent
    return Run(folder.resolve().name, network.to(machine.device(config)), config, step, read_curves(folder))


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The same runs, with a number after names that are the same."""
    names = [run.name for run in runs]
    return [
        dataclasses.replace(run, name=f"{run.name} ({number})") if names.count(run.name) > 1 else run
        for number, run in enumerate(runs, 1)
    ]


def untrained(run: Run) -> Run:
    """The run's network before training."""
    return Run(f"{run.name}, untrained", model.untrained(run.config).to(run.device), run.config, 0, {})


def read_curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """The curves in the run's journal, thinned to a few hundred points each."""
    rows = [row for row in journal.read(folder) if "epoch" in row]
    found = {name: [(float(row["epoch"]), float(row[name])) for row in rows if name in row] for name in CURVES}
    return {name: _thinned(points) for name, points in found.items() if points}


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_POINTS` points: means of equally many neighbours each."""
    size = -(-len(points) // _POINTS)
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in blocks]
