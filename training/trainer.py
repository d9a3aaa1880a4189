"""The loop over the steps of a run, with what surrounds it: checkpoints, logging, kNN, broken images."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training import checkpoint, data, inference, machine, optim
from training import config as configs
from training.augment import Augmentation, photometric
from training.config import Config
from training.methods.simclr import SimCLR
from training.monitor import Journal, collapse, statistics

CONFIG_FILE = "config.json"
_MAX_BROKEN = 0.01  # of the images


class RunFailed(Exception):
    """The run cannot go on."""


class Trainer:
    """One run: its parts, and the loop over its steps. Raises ValueError when it cannot begin."""

    def __init__(self, config: Config, out: Path, state: Mapping[str, Any] | None) -> None:
        self.config = config = machine.resolve(config)
        self.out = out
        self.images = data.open_images(config.data.spec)
        if len(self.images) < config.train.batch_size:
            raise ValueError(
                f"{config.data.spec} holds {len(self.images)} images, fewer than one batch of "
                f"{config.train.batch_size}; set train.batch_size={max(2, len(self.images))} or less"
            )
        spec, limit = config.data.eval_spec, config.eval.bank_limit
        self.labelled = data.open_labelled(spec, bank_limit=limit) if spec else None
        self.fingerprint = self.images.fingerprint()
        self.per_epoch = len(self.images) // config.train.batch_size
        self.total = config.train.epochs * self.per_epoch
        torch.set_num_threads(config.train.threads)
        torch.manual_seed(config.train.seed)
        self.device = torch.device(config.train.device)
        self.method = SimCLR(config).to(memory_format=torch.channels_last).to(self.device)
        self.optimiser = optim.build(self.method, self.method.rate, config.train)
        self.step, self.seconds = 0, 0.0
        self.evaluated = 0  # the step of the last kNN
        self._clock = time.perf_counter()
        self.broken: set[int] = set()
        if state is not None:
            self._restore(state)
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / CONFIG_FILE).write_text(json.dumps(configs.to_dict(config), indent=2) + "\n")
        except OSError as error:
            raise ValueError(f"cannot write to {out}: {error.strerror}") from None
        self.journal = Journal(out, self.step)

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["data"] != self.fingerprint:
            raise ValueError(f"{self.config.data.spec} holds other images than the run began with")
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.broken = state["step"], state["seconds"], set(state["broken"])
        self.evaluated = state["evaluated"]

    def save(self) -> None:
        """Everything that the next step depends on; order and augmentation are functions of (seed, step)."""
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        state = {
            "config": configs.to_dict(self.config),
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "evaluated": self.evaluated,
            "broken": sorted(self.broken),
            "data": self.fingerprint,
        }
        checkpoint.save(self.out / checkpoint.FILE, state)

    def train(self, stop: machine.Stop) -> int:
        """Steps until the schedule, `train.max_steps` or a signal ends them: the exit code. Raises RunFailed."""
        train = self.config.train
        last = max(self.step, min(self.total, train.max_steps or self.total))
        stream = data.batches(
            self.images,
            Augmentation(self.config.augment, self.config.data.image_size),
            batch_size=train.batch_size,
            seed=train.seed,
            start=self.step,
            stop=last,
            workers=self.config.data.workers,
        )
        self._announce(last)
        self._evaluate_if_due(last)  # a run that was stopped before it could
        began, done = time.perf_counter(), 0  # of the stretch that img/s is the mean of
        with tqdm(total=last, initial=self.step, unit="step", dynamic_ncols=True, disable=None) as bar:
            for batch in stream:
                self._count_broken(batch.broken)
                loss, seen = self.train_step(batch)
                self.step += 1
                done += 1
                bar.update()
                if self.step % train.log_every == 0 or self.step == last:
                    self._log(bar, loss, done * train.batch_size / (time.perf_counter() - began), seen)
                    began, done = time.perf_counter(), 0
                if self.step % train.checkpoint_every == 0 or self.step == last or stop.signal:
                    self.save()
                if stop.signal:
                    print(f"stopped at step {self.step}; go on: python -m training.pretrain --resume --out {self.out}")
                    return 128 + stop.signal
                if self._evaluate_if_due(last):
                    began, done = time.perf_counter(), 0
        self.save()
        print(f"done: {self.step} steps in {self.seconds / 60:.1f} min; checkpoint in {self.out}")
        return 0

    def train_step(self, batch: data.Batch) -> tuple[float, Mapping[str, Tensor]]:
        """One step of the optimiser: its loss, and what `monitor.statistics` looks at."""
        train = self.config.train
        pixels = batch.pixels.to(self.device, non_blocking=True)
        x = inference.normalise(photometric(pixels, batch.parameters), self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * optim.learning_rate(train, self.step, self.total, self.per_epoch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            loss, seen = self.method(x)
        loss.backward()
        if train.clip_norm:
            nn.utils.clip_grad_norm_(self.method.parameters(), train.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        value = float(loss.detach())  # the step's one wait for the device
        if not math.isfinite(value):
            raise RunFailed(f"the loss of step {self.step + 1} is {value}: start a new run with a lower train.lr")
        return value, seen

    def _evaluate_if_due(self, last: int) -> bool:
        """kNN every so many epochs and after the last step, if there are labelled images; to journal and terminal."""
        period = self.config.eval.every * self.per_epoch
        due = self.step == last or (period and self.step % period == 0)
        if self.labelled is None or not self.step or self.evaluated == self.step or not due:
            return False
        began, epoch = time.perf_counter(), self.step / self.per_epoch
        try:
            found = inference.knn(self.method.model.backbone, self.labelled, self.config, self.device)
        except ValueError as error:
            raise RunFailed(f"no kNN after step {self.step}: {error}") from None
        self.evaluated = self.step
        self.journal.write(self.step, epoch=epoch, knn=found.accuracy, k=found.k)
        note = f"; {found.broken} images could not be read" if found.broken else ""
        seconds = time.perf_counter() - began
        tqdm.write(
            f"epoch {epoch:.1f}: kNN {found.accuracy:.4f} (k={found.k}, cosine, exp(s/0.1)), {seconds:.0f} s{note}"
        )
        return True

    def _announce(self, last: int) -> None:
        c, millions = self.config, sum(p.numel() for p in self.method.parameters()) / 1e6
        print(
            f"{c.recipe}, C = {c.heads.num}, {c.temperature.kind} temperature, {millions:.1f} M parameters; "
            f"{len(self.images)} images, {self.per_epoch} steps an epoch; {c.train.device}, {c.train.precision}; "
            f"steps {self.step} to {last} of {self.total}; {self.out}",
            flush=True,
        )

    def _log(self, bar: Any, loss: float, rate: float, seen: Mapping[str, Tensor]) -> None:
        numbers = statistics(seen, self.config.temperature)
        lr = self.optimiser.param_groups[0]["lr"]
        epoch = self.step / self.per_epoch
        self.journal.write(self.step, epoch=epoch, loss=loss, lr=lr, images_per_second=rate, **numbers)
        shown = {"loss": f"{loss:.3f}", "img/s": f"{rate:.0f}"}
        names = {"s+": "positive_similarity", "s-": "negative_similarity", "τ+": "tau_positive", "τ-": "tau_negative"}
        shown |= {short: f"{numbers[name]:.3f}" for short, name in names.items() if name in numbers}
        bar.set_postfix(shown)
        if bar.disable:  # no terminal: a line now and then
            left = (bar.total - self.step) * self.config.train.batch_size / rate / 60
            print(
                f"step {self.step}/{bar.total}",
                *(f"{k}={v}" for k, v in shown.items()),
                f"left={left:.0f}min",
                flush=True,
            )
        warning = collapse(numbers)
        if warning:
            tqdm.write(f"warning at step {self.step}: {warning}", file=sys.stderr)
            self.journal.write(self.step, warning=warning)

    def _count_broken(self, indices: Sequence[int]) -> None:
        fresh = set(indices) - self.broken
        for index in sorted(fresh)[: max(0, 5 - len(self.broken))]:
            tqdm.write(f"warning: {self.images.name(index)} cannot be decoded; a flat grey stands in", file=sys.stderr)
        self.broken |= fresh
        if len(self.broken) > _MAX_BROKEN * len(self.images):
            names = ", ".join(self.images.name(i) for i in sorted(self.broken)[:3])
            raise RunFailed(f"{len(self.broken)} of {len(self.images)} images cannot be decoded, such as {names}")
