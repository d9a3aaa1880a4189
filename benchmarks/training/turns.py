"""Two ways of training take turns, block by block of steps, so that what else the machine does meets both alike."""

from __future__ import annotations

import io
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from training.config import Config
from training.machine import Stop
from training.methods.base import Seen
from training.run.trainer import Trainer

_SIZES = (1, 4, 20, 40, 80, 160, 320)  # steps of a block; from 20, the interval of logging, all log equally often
_QUIET = 0.1  # seconds without work after which a process has nothing to do

Other = Callable[[Trainer, Tensor, int], None]  # our trainer, the views of its last step, steps to take


@dataclass(frozen=True)
class Pace:
    """Timed blocks of each way, and how long one lasts at least, in seconds; or its steps, if not 0."""

    blocks: int = 5
    seconds: float = 2.0
    steps: int = 0


@dataclass
class Blocks:
    """The seconds that blocks of `size` steps took, of both ways; what warms up or is too short does not count."""

    pace: Pace
    device: torch.device
    size: int = 1
    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    _cold: bool = True

    def __post_init__(self) -> None:
        self.size = self.pace.steps or 1
        self._warming = True

    def add(self, ours: float, other: float) -> bool:
        """Take note of a block of each; True when there are enough."""
        if not self._warming:
            self.ours.append(ours)
            self.other.append(other)
            return len(self.ours) == self.pace.blocks
        cold, self._cold = self._cold and self.device.type == "cuda", False  # its libraries search kernels at first
        longest = self.size == _SIZES[-1]
        if self.pace.steps or (not cold and (longest or min(ours, other) >= self.pace.seconds)):
            self._warming = False
        elif not cold:
            self.size = next(size for size in _SIZES if size > self.size)
        return False

    @property
    def speedup(self) -> float:
        """Median over blocks of the other's time over ours."""
        return statistics.median(b / a for a, b in zip(self.ours, self.other, strict=True))

    def rates(self, batch: int) -> tuple[float, float]:
        """Median images a second of ours and of the other."""
        ours, other = (self.size * batch / statistics.median(seconds) for seconds in (self.ours, self.other))
        return ours, other


class _Enough(Exception):
    """All blocks are timed."""


class _Turns(Trainer):
    """A Trainer that after each block of steps lets another way take as many."""

    def __init__(self, config: Config, out: Path, other: Other, pace: Pace) -> None:
        super().__init__(config, out, None)
        self.other, self.blocks = other, Blocks(pace, self.device)
        self.done, self.began = 0, time.perf_counter()

    def train_step(self, pixels_N3SS: Tensor) -> tuple[Tensor, Seen]:
        """The Trainer's, and at the end of a block the other's turn."""
        result = super().train_step(pixels_N3SS)
        self.done += 1
        if self.done == self.blocks.size:
            ours = settled(self.device) - self.began
            began = time.perf_counter()
            self.other(self, pixels_N3SS, self.blocks.size)
            if self.blocks.add(ours, settled(self.device) - began):
                raise _Enough
            self.done, self.began = 0, time.perf_counter()
        return result


def against(config: Config, other: Other, pace: Pace) -> Blocks:
    """`Trainer.train` as a run has it, from images to logging, in turns with `other`."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        trainer = _Turns(config, Path(folder), other, pace)
        try:
            trainer.train(Stop())
        except _Enough:
            return trainer.blocks
        finally:
            trainer.reporter.close()
    raise AssertionError("the schedule ended before the blocks were timed")


def alternate(ours: Callable[[int], None], other: Callable[[int], None], device: torch.device, pace: Pace) -> Blocks:
    """Two functions that take a number of steps, in turns."""
    blocks, enough = Blocks(pace, device), False
    while not enough:
        seconds = [timed(run, blocks.size, device) for run in (ours, other)]
        enough = blocks.add(seconds[0], seconds[1])
    return blocks


def timed(run: Callable[[int], None], steps: int, device: torch.device) -> float:
    """Seconds that `run(steps)` takes, with what it leaves to be done."""
    began = time.perf_counter()
    run(steps)
    return settled(device) - began


def fixed_batch(trainer: Trainer, views_N3SS: Tensor, steps: int) -> None:
    """Our own steps without an input pipeline: the same views again and again."""
    for _ in range(steps):
        Trainer.train_step(trainer, views_N3SS)


def settled(device: torch.device) -> float:
    """Wait until the device and the processes that read ahead are idle: the moment since which they are.

    Readers begin a block with a full stock of batches. That they fill it again within the block makes its time count
    as much reading as computing, and keeps them from reading during the other's turn.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    since = time.perf_counter()
    worked, _ = _readers()
    while multiprocessing.active_children() and time.perf_counter() - since < _QUIET:
        time.sleep(0.01)
        before = worked
        worked, busy = _readers()
        if busy or worked != before:
            since = time.perf_counter()
    return since


def _readers() -> tuple[int, bool]:
    """CPU time of this process's children in the kernel's ticks, and whether one wants to go on.

    One that waits for a core of a busy machine does not work and is not idle. Nothing is known where /proc is not
    Linux's.
    """
    ticks, busy = 0, False
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        busy |= fields[0] in "RD"  # running or runnable, or waiting for a disk
        ticks += int(fields[11]) + int(fields[12])  # utime, stime: the 14th and 15th field of the line
    return ticks, busy
