"""`python -m training.pretrain`: unlabelled images in, a run folder with a checkpoint out."""

from __future__ import annotations

import argparse
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

from training import checkpoint, data, evaluate, machine, recipes
from training import config as configs
from training.augment import Augmentation, photometric
from training.config import Config
from training.methods.simclr import SimCLR
from training.monitor import Journal, collapse, statistics
from training.optim import learning_rate, parameter_groups

CONFIG_FILE = "config.json"
_MAX_BROKEN = 0.01  # of the images
_MAY_CHANGE = {
    "train.max_steps",
    "train.checkpoint_every",
    "train.log_every",
    "data.spec",  # the same images elsewhere; the fingerprint is checked
    "data.eval_spec",
    "data.workers",
}


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
        self.optimiser = torch.optim.SGD(
            parameter_groups(self.method, config.train.weight_decay), lr=config.train.lr, momentum=config.train.momentum
        )
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
        x = evaluate.normalise(photometric(pixels, batch.parameters), self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(train, self.step, self.per_epoch)
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
            found = evaluate.knn(self.method.model.backbone, self.labelled, self.config, self.device)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by a signal."""
    args = _parser().parse_intermixed_args(argv)
    try:
        trainer = Trainer(*_resolve(args))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with machine.stop_on_signals() as stop:
        try:
            return trainer.train(stop)
        except RunFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            trainer.journal.close()


def _resolve(args: argparse.Namespace) -> tuple[Config, Path, Mapping[str, Any] | None]:
    """(config, run folder, state to resume from) of the command line; ValueError for the user."""
    words = list(args.words)
    name = words.pop(0) if words and "=" not in words[0] else None
    words += [f"data.spec={args.data}"] if args.data else []
    words += [f"data.eval_spec={args.eval}"] if args.eval else []
    if args.resume:
        if args.out is None:
            raise ValueError("--resume needs --out, the run folder to go on with")
        state = checkpoint.load(args.out)
        saved = configs.from_dict(state["config"])
        config = configs.validate(configs.override(saved, words))
        old, new = configs.flatten(saved), configs.flatten(config)
        bent = [key for key in old if old[key] != new[key] and key not in _MAY_CHANGE]
        bent += ["the recipe"] if name not in (None, saved.recipe) else []
        bent += ["--adaptive"] if args.adaptive and saved.temperature.kind != "adaptive" else []
        if bent:
            raise ValueError(f"{', '.join(bent)} cannot change on --resume; leave it out, or start a new run")
        return config, args.out, state
    config = recipes.recipe(name or "simclr")
    config = configs.override(recipes.adaptive(config) if args.adaptive else config, words)
    if not config.data.spec:
        raise ValueError("--data is missing: folder:PATH or cifar10:PATH")
    out = args.out or Path("runs") / f"{config.recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (out / checkpoint.FILE).exists():
        raise ValueError(f"{out} holds a run already; give --resume to go on with it, or another --out")
    return configs.validate(config), out, None


def _parser() -> argparse.ArgumentParser:
    keys = "\n".join(
        f"  {f'{key}={value}':42s} {text}" for key, value, text in configs.describe(recipes.recipe("simclr"))
    )
    parser = argparse.ArgumentParser(
        prog="python -m training.pretrain",
        usage="%(prog)s [RECIPE] [--adaptive] --data SPEC [--eval SPEC] [--out DIR] [--resume] [KEY=VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Pre-train a backbone on unlabelled images by contrastive learning, standard or adaptive (AMCL).",
        epilog=f"""keys, with the defaults of simclr:
{keys}

data:
  folder:PATH     any tree of images; for --eval the folders' names are the labels, and train/ and test/ (or val/)
                  below PATH are kept apart; without them every other image is the bank and the rest query it
  cifar10:PATH    torchvision's CIFAR-10, downloaded where the network allows

a run folder holds:
  config.json     the configuration it ran with        checkpoint.pt   the latest state, replaced atomically
  metrics.jsonl   numbers, one JSON object a line      tensorboard/    the same for TensorBoard

examples:
  python -m training.pretrain simclr --adaptive --data folder:photos --out runs/photos
  python -m training.pretrain --data cifar10:data --eval cifar10:data data.image_size=32 backbone.stem=cifar
  python -m training.pretrain --resume --out runs/photos train.max_steps=5000

Ctrl-C or SIGTERM saves a checkpoint and stops; --resume goes on with the very next step.""",
    )
    names = ", ".join(sorted(recipes.RECIPES))
    parser.add_argument("words", nargs="*", metavar="RECIPE or KEY=VALUE", help=f"RECIPE is one of: {names} (simclr)")
    parser.add_argument("--adaptive", action="store_true", help="preset: three heads and adaptive temperatures")
    parser.add_argument("--data", metavar="SPEC", help="the images to learn from; no labels are used")
    parser.add_argument("--eval", metavar="SPEC", help="labelled images for kNN, during and after training")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the run folder (default: runs/RECIPE-DATE-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
