"""The race: SimCLR on CIFAR-10 within a budget of wall-clock time, and the supervised ceiling of the same images.

    python -m benchmarks.training.race --data CIFAR [--minutes 9.5] [--epochs 0] [--name X] [--adaptive] [KEY=VALUE …]
    python -m benchmarks.training.race --data CIFAR --supervised [--epochs 30]

CIFAR is a folder with train/ and test/, a folder a class below each. Without `--epochs` the first steps are timed, in a
run that is thrown away, and the schedule gets as many epochs as then end within the budget, evaluation included. kNN
and linear probe are those of the last epoch, and test labels choose nothing: a recipe is to be chosen by `--validate`,
which trains on nine tenths of the training images and evaluates on the last tenth. Should the time not do, the run
stops with a checkpoint, and the same command finishes it. A result is one line in `--results`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.study.budget import Budget, Failed, OutOfTime, add_budget, append, pretrain, quality, read
from benchmarks.study.split import make_split
from training.config import serialization
from training.data import open_images
from training.machine import cores
from training.run import journal

OUT_OF_TIME = 3
STEPS = 400  # of the trial, the last three quarters of which are timed
EVALUATION = 45.0  # seconds, of kNN and linear probe
MARGIN = 0.97  # of the speed in the trial: checkpoints, and other steps that take longer
RECIPE = ("data.image_size=32", "backbone.stem=cifar", "train.batch_size=512", "train.warmup_epochs=2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, note; 3 when the time was up before, 1 when a part failed."""
    options = _parser().parse_intermixed_args(arguments)
    if options.print:
        print(render(read(options.results)))
        return 0
    began = time.monotonic()
    try:
        if options.supervised:
            from benchmarks.training.supervised import train

            line = train(options.data, epochs=options.epochs or 30, device=options.device, words=options.words)
        else:
            with Budget(options.minutes) as budget:
                line = race(options, budget)
    except OutOfTime:
        print("the time is up; the same command goes on")
        return OUT_OF_TIME
    except (Failed, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    line |= {"wall_seconds": round(time.monotonic() - began, 1), "commit": options.commit}
    append(options.results, line)
    print(json.dumps(line, indent=1))
    return 0


def race(options: argparse.Namespace, budget: Budget) -> dict[str, Any]:
    """One run whose schedule ends within the budget, and what it has learnt; ValueError for one that is there."""
    if any(line["name"] == _name(options) for line in read(options.results)):
        raise ValueError(f"{options.results} has a run {_name(options)} already; give another --name")
    images = options.data
    if options.validate:
        images = options.runs.absolute() / "split"
        make_split(options.data / "train", images)
    run = options.runs / f"race-{_name(options)}"
    words = ["simclr", *RECIPE, *(["--adaptive"] if options.adaptive else []), *options.words]
    extra = [f"--data=folder:{images / 'train'}", f"train.device={options.device}", f"data.workers={min(8, cores())}"]
    begun = begun_epochs(run)
    epochs = begun or options.epochs or affordable(budget, [*words, *extra], run)
    print(f"{epochs} epochs, {budget.left:.0f} s left", flush=True)
    pretrain(budget, run, [*words, *extra, f"train.epochs={epochs}"])
    found = quality(budget, run, f"folder:{images}", f"--device={options.device}")
    return {"name": _name(options), "epochs": epochs, "words": words[1:], "in_one_go": not begun} | found


def affordable(budget: Budget, words: Sequence[str], run: Path) -> int:
    """Epochs that end within the budget at the speed of the first steps; ValueError where there is time for none."""
    seen = trial(budget, words, run)
    return fitting(budget.left - seen.start_up - EVALUATION, seen.rate, seen.images)


@dataclass(frozen=True)
class Trial:
    """Images a second, seconds to start and end, and the images of an epoch."""

    rate: float
    start_up: float
    images: int


def trial(budget: Budget, words: Sequence[str], run: Path) -> Trial:
    """Time the first steps of a run with these words, beside the folder `run` and thrown away."""
    folder = run.with_name(f"{run.name}-trial-{time.time():.0f}")
    began = time.monotonic()
    more = [f"train.max_steps={STEPS}", "train.epochs=1000", "train.log_every=20", f"--out={folder}"]
    if any(word.startswith("data.early_size=") for word in words):
        more.append("data.early_size=0")  # at the size that takes longest, so that the time does in any case
    budget.run("training.pretrain", *words, *more, log=Path(f"{folder}.log"))
    wall = time.monotonic() - began
    config = serialization.read(folder)
    rates = [line["images_per_second"] for line in journal.read(folder) if "images_per_second" in line]
    rate = statistics.median(rates[len(rates) // 4 :])
    (folder / "checkpoint.pt").unlink()
    found = Trial(
        rate,
        max(0.0, wall - STEPS * config.train.batch_size / rate),
        len(open_images(config.data.spec)),
    )
    print(f"{found.rate:.0f} images/s, {found.start_up:.0f} s to start and end", flush=True)
    return found


def fitting(seconds: float, rate: float, images: int) -> int:
    """Whole epochs of so many images; ValueError for less than one."""
    epochs = int(MARGIN * seconds * rate / images)
    if epochs < 1:
        raise ValueError(f"{seconds:.0f} s are too few for an epoch of {images} images at {rate:.0f} a second")
    return epochs


def _name(options: argparse.Namespace) -> str:
    return str(options.name) + ("-validated" if options.validate else "")


def begun_epochs(run: Path) -> int:
    """Epochs of the run that the folder holds already, 0 for none."""
    begun = (run / "checkpoint.pt").exists()
    return serialization.read(run).train.epochs if begun else 0


def render(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    rows = ["| run | epochs | kNN (k = 20) | kNN (k = 200) | linear probe, or accuracy | minutes | GPU | commit |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for line in lines:
        knn = [f"{line[f'knn_{k}']:.4f}" if f"knn_{k}" in line else "" for k in (20, 200)]
        last = line.get("linear_probe", line.get("accuracy"))
        minutes = f"{line['wall_seconds'] / 60:.1f}" if line.get("in_one_go", True) else "in pieces"
        rows.append(
            f"| {' '.join([line['name'], *line['words']])} | {line['epochs']} | {' | '.join(knn)} | {last:.4f} "
            f"| {minutes}, {line['seconds'] / 60:.1f} of training | {line['device']} | {line['commit']} |"
        )
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.race", description="SimCLR against the clock.")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--data", type=Path, default=Path("cifar"), help="CIFAR-10, a folder with train/ and test/")
    parser.add_argument("--name", default="simclr", help="of the run, another for another recipe")
    parser.add_argument("--epochs", type=int, default=0, help="0: as many as end within the minutes; supervised: 30")
    parser.add_argument("--adaptive", action="store_true", help="three heads and adaptive temperatures")
    parser.add_argument("--validate", action="store_true", help="on held-out training images, to choose a recipe by")
    parser.add_argument("--supervised", action="store_true", help="the ceiling of these images instead")
    parser.add_argument("--print", action="store_true", help="the results so far, as Markdown; trains nothing")
    add_budget(parser, "race.jsonl")
    parser.set_defaults(minutes=9.5)
    return parser


if __name__ == "__main__":
    sys.exit(main())
