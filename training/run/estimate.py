"""How long a run will take, said before its first step, from a few images and a few trial steps on a copy."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from training import data, machine
from training.config import Config
from training.machine import distributed
from training.machine.precision import mixed_precision
from training.methods.base import Method, Step
from training.model.normalise import normalise
from training.run import optim

WORTH = 50  # steps from which on a run is long enough to measure
_TRIALS = 3  # the first fills caches and is left out


@dataclass(frozen=True)
class Way:
    """The steps from `step` to `last`; stages end at `ends`, images grow at step `grown`."""

    step: int
    last: int
    ends: tuple[int, ...]
    grown: int
    per_epoch: int

    def parts(self) -> list[Part]:
        """Steps that cost the same."""
        inner = {end for end in (*self.ends, self.grown) if self.step < end < self.last}
        borders = sorted({self.step, self.last} | inner)
        return [
            Part(after - first, first, sum(end <= first for end in self.ends[:-1]))
            for first, after in pairwise(borders)
        ]


@dataclass(frozen=True)
class Part:
    """Steps of one kind: how many, the first of them, the stage they belong to."""

    steps: int
    first: int
    stage: int


@dataclass(frozen=True)
class Pace:
    """What a step of a part costs: seconds of its computation; seconds of one core to crop an image for it."""

    step: float
    crop: float


def of(way: Way, method: Method, config: Config, stream: data.Read | data.Resident, device: torch.device) -> str | None:
    """What to say; None of a run that is short, would have to be compiled for it, or whose images cannot be read.

    All processes must take part.
    """
    found = stream.sample if isinstance(stream, data.Read) else None
    (unread,) = distributed.maxima(int(isinstance(stream, data.Read) and found is None))
    if way.last - way.step < WORTH or config.train.compile or unread:
        return None
    try:
        paces = [(part, pace(method, config, stream, part, device)) for part in way.parts()]
    except torch.OutOfMemoryError:  # the copy may be what was too much
        if distributed.world_size() > 1:
            raise
        return None
    return sentence(config, found, paces, way.per_epoch, distributed.world_size())


def pace(method: Method, config: Config, stream: data.Read | data.Resident, part: Part, device: torch.device) -> Pace:
    """Measured on a copy of `method`; random numbers and weights stay as they are. All processes must take part."""
    if isinstance(stream, data.Resident):
        batch: data.Batch = stream.batch(part.first)
        crop = 0.0
    else:
        batch, crop = stream.trial(part.first)
    trial = copy.deepcopy(method)
    trial.enter(part.stage)
    optimiser = optim.build(trial, trial.rate, config.train)
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    seconds = [_timed(lambda: _step(trial, optimiser, batch.views(device), config, device)) for _ in range(_TRIALS)]
    return Pace(min(seconds[1:]), crop)


def _step(
    method: Method, optimiser: torch.optim.Optimizer, views: Tensor, config: Config, device: torch.device
) -> None:
    with mixed_precision(device, config.train):
        loss, _ = method(normalise(views, config.data), Step(0, 0.0, config.train.seed))
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def seconds_a_step(step: float, reading: float, config: Config, processes: int) -> float:
    """A step that computes for `step` seconds while images that take `reading` seconds of one core are read.

    Whichever is slower sets the pace; where the CPU trains, both have to share its cores.
    """
    workers = config.data.workers
    if not workers:
        return step + reading
    slower = max(step, reading / workers)
    if config.train.device != "cpu":
        return slower
    cores = max(1, machine.cores() // processes)
    return max(slower, (step * min(config.train.threads, cores) + reading) / cores)


def sentence(
    config: Config, found: data.Sample | None, paces: list[tuple[Part, Pace]], per_epoch: int, processes: int
) -> str:
    """What to say of a run of these parts; `found` is None where images are on the device."""
    batch = config.train.batch_size // processes

    def run(image: float, steps: int | None = None) -> float:
        """Seconds of all steps, or of the first `steps`, if reading an image takes `image`."""
        total = 0.0
        for part, pace in paces:
            count = part.steps if steps is None else min(part.steps, steps)
            steps = None if steps is None else steps - count
            total += count * seconds_a_step(pace.step, batch * (image + pace.crop), config, processes)
        return total

    step = f"a step computes for {span(paces[0][1].step)}"
    steps = sum(part.steps for part, _ in paces)
    if found is None:
        return f"estimate: about {span(run(0.0))} for {steps} steps: {step}{_GUESS}"
    first = found.kept * found.warm + (1 - found.kept) * found.cold
    later = found.keeps * found.warm + (1 - found.keeps) * found.cold
    began = min(per_epoch, steps)
    total = run(later) + run(first, began) - run(later, began)
    epochs = f"the first epoch about {span(run(first, began))}"
    epochs += f", a later one {span(run(later, began))}" if steps > began else ""
    reading = f"reading an image takes {span(found.cold)}"
    if found.large and found.keeps:
        reading += f", or {span(found.warm)} from the cache"
        reading += f", which has {found.kept:.0%} of them" if found.kept else ""
    if found.keeps < found.large and config.data.cache_gib:
        reading += f" (it will hold {found.keeps:.0%} of the images; data.cache_gib sets its size)"
    workers = f"{config.data.workers} worker{'' if config.data.workers == 1 else 's'}"
    return f"estimate: about {span(total)} for {steps} steps, {epochs}: {step}; {reading}; {workers}{_GUESS}"


_GUESS = ". A guess from a short measurement, without kNN and checkpoints"


def span(seconds: float) -> str:
    """A time as people say it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "less than 1 ms"
