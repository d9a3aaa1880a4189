"""The loop over the steps of a run, and what surrounds it: stages, checkpoints, verdicts, broken images, bad steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from training import config as configs
from training import data, machine, methods
from training.augment import Augmentation
from training.config import Config
from training.judging.monitor import collapse, statistics, stuck
from training.machine import distributed
from training.machine.precision import mixed_precision
from training.methods.base import Seen, Step
from training.model.backbones.named import with_joint_norms
from training.model.normalise import normalise
from training.run import checkpoint, estimate, length, optim, weights
from training.run.announcement import announcement
from training.run.reporter import Reporter
from training.run.verdicts import Verdicts

_MAX_BROKEN = 0.01  # of the images
_MAX_SKIPPED = 5  # steps in a row


class RunFailed(Exception):
    """The run cannot go on."""


class Trainer:
    """One run: its parts, and the loop over its steps. Raises ValueError when it cannot begin.

    It goes on from `state`, or begins with fresh weights or those of `source`.
    In a distributed run every process has one; the first alone writes and prints.
    """

    def __init__(
        self, config: Config, out: Path, state: Mapping[str, Any] | None, source: weights.Source | None = None
    ) -> None:
        self.out, self.first = out, distributed.rank() == 0
        with distributed.together(ValueError):
            self._prepare(config, source)
        # A state saved at the end of a stage is that stage's; the next begins with the next step.
        self.enter(0 if state is None else self._stage_of(max(0, state["step"] - 1)))
        with distributed.together(ValueError):
            if state is not None:
                self._restore(state)
            self.reporter = Reporter(self.config, out, self.step, silent=distributed.rank() > 0)
        if self.begun is not None:
            self.reporter.record(0, init=config.train.init, sha256=config.train.init_hash, **self.begun.journal())

    def _prepare(self, config: Config, source: weights.Source | None) -> None:
        config = machine.resolve(config)
        self.images = data.open_images(config.data.spec)
        self.config = config = length.resolve_epochs(config, len(self.images))
        self.cache = data.open_cache(config.data.cache, self.out, config.data.cache_gib)
        length.check_batch(config, len(self.images), distributed.world_size())
        weights.check_norms(config, distributed.world_size())
        self.fingerprint = self.images.fingerprint()
        torch.set_num_threads(config.train.threads)
        torch.manual_seed(config.train.seed)
        self.device = machine.device(config)
        if self.device.type == "cpu":
            machine.keep_memory()
        self.method = methods.build(config)
        self.begun = None if source is None else weights.begin(self.method, config, source)
        self.method = self.method.to(memory_format=torch.channels_last).to(self.device)
        # It needs CUDA; on CPU each process has its own statistics.
        if distributed.world_size() > 1 and self.device.type == "cuda":
            self.method = with_joint_norms(self.method, config.backbone.name)
        if config.train.compile:
            self.method.compile_backbones()
        self.per_epoch = len(self.images) // config.train.batch_size
        self.ends = list(accumulate(epochs * self.per_epoch for epochs in self.method.stages()))
        self.step, self.saved, self.seconds = 0, 0, 0.0  # saved: the step of the checkpoint
        self.verdicts = Verdicts(config, self.images, self.cache, self.per_epoch, first=self.first)
        self._clock = time.perf_counter()
        self.broken: set[int] = set()
        self.skipped = 0  # steps in a row
        self._good = False  # whether there is a checkpoint of weights that had not collapsed
        self._collapsed_at: int | None = None  # the step of the first of the readings in a row that show collapse

    def _stage_of(self, step: int) -> int:
        return next((stage for stage, end in enumerate(self.ends) if step < end), len(self.ends) - 1)

    def enter(self, stage: int) -> None:
        """Each stage has an optimiser of its own."""
        self.stage = stage
        self.method.enter(stage)
        self.optimiser = optim.build(self.method, self.method.rate, self.config.train)
        self._forward = distributed.parallel(self.method)

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["data"] != self.fingerprint:
            raise ValueError(f"{self.config.data.spec} holds other images than the run began with")
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.broken = state["step"], state["seconds"], set(state["broken"])
        self.saved = self.step
        self._good = not state.get("collapsed", False)
        self.verdicts.at = state["evaluated"]

    def save(self) -> None:
        """Everything that the next step depends on; order, augmentation and masks are functions of (seed, step)."""
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        with distributed.together(RunFailed):
            # Weights that have collapsed, or whose gradient is no number, do not replace good ones.
            if self.first and not self.skipped and (self._collapsed_at is None or not self._good):
                self._write()

    def _write(self) -> None:
        state = {
            "config": configs.to_dict(self.config),
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "evaluated": self.verdicts.at,
            "broken": sorted(self.broken),
            "collapsed": self._collapsed_at is not None,
            "data": self.fingerprint,
        }
        try:
            checkpoint.save(self.out / checkpoint.FILE, state, keep=self.config.train.keep)
            weights.leave(self.method.model.backbone, self.config, self.out)
        except OSError as error:
            raise RunFailed(f"cannot write a checkpoint to {self.out}: {error.strerror or error}") from None
        self.saved = self.step
        self._good = self._collapsed_at is None

    def _kept(self) -> str:
        return f"checkpoint of step {self.saved} in {self.out}" if self.saved else "no checkpoint yet"

    def train(self, stop: machine.Stop) -> int:
        """Steps until the schedule, `train.max_steps` or a signal ends them: the exit code. Raises RunFailed."""
        train, total = self.config.train, self.ends[-1]
        last = max(self.step, min(total, train.max_steps or total))
        with distributed.together(RunFailed):
            stream = self._open_stream(last)
        self._announce(last)
        self._judge_if_due(last)  # a run that was stopped before it could
        way = estimate.Way(self.step, last, tuple(self.ends), self._grown, self.per_epoch)
        if text := estimate.of(way, self.method, self.config, stream, self.device):
            self.reporter.say(text)
        self.reporter.begin(self.step, last)
        batches: Iterable[data.Batch] = stream
        for batch in self.reporter.waiting(batches):
            if self._stage_of(self.step) != self.stage:
                self.enter(self._stage_of(self.step))
            loss, seen = self.train_step(batch.views(self.device))
            self.step += 1
            self.reporter.advance()
            signal, broken = distributed.maxima(stop.signal, len(set(batch.broken) - self.broken))
            if broken:
                self._count_broken(distributed.union(batch.broken))
            if self.step % train.log_every == 0 or self.step == last:
                self._log(loss, seen)
            if self.step % train.checkpoint_every == 0 or self.step == last or signal:
                self.save()
            if signal:
                again = f"; go on: python -m training.pretrain --resume --out {self.out}" if self.saved else ""
                self.reporter.say(f"stopped at step {self.step}; {self._kept()}{again}")
                return 128 + signal
            self._judge_if_due(last)
        self.save()
        done = f"done: {self.step} steps in {self.seconds / 60:.1f} min; {self._kept()}"
        self.reporter.say("; ".join(filter(None, (done, self.verdicts.text))))
        return 0

    @property
    def _grown(self) -> int:
        """The first step of the full image size."""
        sizes = self.config.data
        return round(sizes.early_share * self.ends[-1]) if sizes.early_size else 0

    def _open_stream(self, last: int) -> data.Read | data.Resident:
        sizes = self.config.data
        try:
            return data.batches(
                self.images,
                Augmentation(self.config.augment, sizes.image_size, sizes.early_size, self._grown),
                batch_size=self.config.train.batch_size,
                seed=self.config.train.seed,
                start=self.step,
                stop=last,
                workers=self.config.data.workers,
                device=self.device,
                resident=self.config.data.resident,
                rank=distributed.rank(),
                world_size=distributed.world_size(),
                reduce=sizes.reduce == "auto",
                cache=self.cache,
            )
        except ValueError as error:
            raise RunFailed(str(error)) from None

    def train_step(self, pixels_N3SS: Tensor) -> tuple[Tensor, Seen]:
        """One step of the optimiser on views in [0, 1]: its loss, and what `monitor.statistics` looks at.

        A step whose gradient is not finite is left out; RunFailed after a few such in a row. All processes decide
        alike, because they look at the gradient that they have averaged.
        """
        train = self.config.train
        buffers = [buffer.clone() for buffer in self.method.buffers()]
        begin = self.ends[self.stage - 1] if self.stage else 0
        place, length = self.step - begin, self.ends[self.stage] - begin
        rate = optim.learning_rate(train, place, length, self.per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate"]
        with mixed_precision(self.device, train):
            x = normalise(pixels_N3SS, self.config.data)
            loss, seen = self._forward(x, Step(self.step, place / length, train.seed))
        loss.backward()
        gradients = [p.grad for p in self.method.parameters() if p.grad is not None]
        norm = get_total_norm(gradients)
        if bool(norm.isfinite()):  # the step's one wait for the device
            if train.clip_norm:
                clip_grads_with_norm_(self.method.parameters(), train.clip_norm, norm)
            self.optimiser.step()
            self.skipped = 0
        else:
            for buffer, before in zip(self.method.buffers(), buffers, strict=True):
                buffer.copy_(before)  # running means and queues, which would pass the NaN on to every later step
            self._skip()
        self.optimiser.zero_grad(set_to_none=True)
        return loss.detach(), seen

    def _skip(self) -> None:
        self.skipped += 1
        text = f"the gradient of step {self.step + 1} is not finite"
        if self.skipped == _MAX_SKIPPED:
            raise RunFailed(f"{text}, like the {_MAX_SKIPPED - 1} before it: start a new run with a lower train.lr")
        self.reporter.warn(self.step, f"{text}; the step is left out")

    def _judge_if_due(self, last: int) -> None:
        """By the first process, while the others wait."""
        if not self.verdicts.is_due(self.step, last):
            return
        try:
            with distributed.together(ValueError):
                self.verdicts.give(self.step, self.method.model, self.device, self.reporter)
        except ValueError as error:
            raise RunFailed(f"no verdict after step {self.step}: {error}") from None
        self.reporter.restart_clock()

    def _announce(self, last: int) -> None:
        steps = self.step, last, self.ends[-1]
        for line in announcement(self.config, self.method, self.images, steps, self.begun, self.out):
            self.reporter.say(line)
        for text in self.verdicts.warnings:
            self.reporter.warn(self.step, text)
        for doubt in [] if self.step else length.doubts(self.config, len(self.images), self.ends[-1]):
            self.reporter.warn(self.step, doubt)

    def _log(self, loss: Tensor, seen: Seen) -> None:
        mean_loss = float(distributed.mean(loss))
        warning = None
        if self.first and not self.skipped:
            numbers = statistics(seen, self.method.model.temperature, self.config.temperature)
            group = self.optimiser.param_groups[-1]
            more = {"epoch": self.step / self.per_epoch, "lr": group["lr"] / group["rate"]}
            self.reporter.progress(self.step, mean_loss, numbers, **more)
            warning = collapse(numbers)
            for text in filter(None, (warning, stuck(numbers))):
                self.reporter.warn(self.step, text)
        self._act_on_collapse(warning is not None)

    def _act_on_collapse(self, seen: bool) -> None:
        """End the run when readings of so many steps show collapse. The first process reads, all act."""
        patience = self.config.train.collapse_patience
        if not any(distributed.maxima(int(seen))):
            self._collapsed_at = None
            return
        if self._collapsed_at is None:
            self._collapsed_at = self.step
        if patience and self.step - self._collapsed_at >= patience:
            raise RunFailed(
                f"all readings since step {self._collapsed_at} show collapse; {self._kept()}. Change the method's "
                "settings, or go on from there with --resume train.collapse_patience=0"
            )

    def _count_broken(self, indices: set[int]) -> None:
        """Of all processes, each of which reads other images."""
        fresh = indices - self.broken
        for index in sorted(fresh)[: max(0, 5 - len(self.broken))]:
            self.reporter.warn(self.step, f"{self.images.name(index)} cannot be decoded; a flat grey stands in")
        self.broken |= fresh
        if len(self.broken) > _MAX_BROKEN * len(self.images):
            names = ", ".join(self.images.name(i) for i in sorted(self.broken)[:3])
            raise RunFailed(f"{len(self.broken)} of {len(self.images)} images cannot be decoded, such as {names}")
