"""The long run behind the default bundle, in pieces: SimCLR on Tiny-ImageNet, then the command that exports it.

    python -m benchmarks.study.default_model --data TINY [--minutes 9] [--epochs 0] [--total-minutes 25] [KEY=VALUE ...]

TINY is a folder with train/ and test/, a folder a class below each: the 95,000 images whose number is under 475, and
the held-out others. The recipe is `simclr --adaptive` with the `small` stem unless words change it; `--recipe` and
`--constant` choose another. The length of the schedule is `--epochs`, or as many as `--total-minutes` of training take
at the speed of the first steps. The command ends by itself within its minutes with a checkpoint, and the same command
goes on with the very next step. At the end it evaluates the last epoch, notes a line in `--results`, leaves the weights
without the optimiser in RUN/weights.pt, a file that export reads like a checkpoint, and prints the export's command.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from amcl_serve.model.bundle import CARD_FILE, MODELS_DIR, Bundle
from benchmarks.study.budget import Budget, Failed, OutOfTime, add_budget, append, pretrain, quality, read
from benchmarks.training.race import OUT_OF_TIME, begun_epochs, fitting, trial
from training.config import serialization
from training.machine import cores
from training.run import checkpoint

RECIPE = ("data.image_size=64", "backbone.stem=small", "train.batch_size=512", "train.warmup_epochs=2")
WEIGHTS = "weights.pt"


def main(arguments: Sequence[str] | None = None) -> int:
    """A piece of the run, or its end; 3 when the time was up before, 1 when a part failed."""
    options = _parser().parse_intermixed_args(arguments)
    run = options.runs / options.name
    words = [options.recipe, *RECIPE, *([] if options.constant else ["--adaptive"]), *options.words]
    extra = [f"--data=folder:{options.data / 'train'}", f"train.device={options.device}"]
    extra += [f"data.workers={min(8, cores())}"]
    try:
        with Budget(options.minutes) as budget:
            epochs = begun_epochs(run) or options.epochs
            if not epochs:
                seen = trial(budget, [*words, *extra], run)
                epochs = fitting(60 * options.total_minutes, seen.rate, seen.images)
            print(f"{epochs} epochs, {budget.left:.0f} s left", flush=True)
            pretrain(budget, run, [*words, *extra, f"train.epochs={epochs}"])
            found = quality(budget, run, f"folder:{options.data}", "--knn-only", f"--device={options.device}")
    except OutOfTime:
        print("the time is up; the same command goes on")
        return OUT_OF_TIME
    except (Failed, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    line = {"name": options.name, "epochs": epochs, "words": words, "commit": options.commit} | found
    if all(options.name != each["name"] for each in read(options.results)):
        append(options.results, line)
    slim(run)
    print(json.dumps(line, indent=1))
    print(f"\n{export_command(run, options.data, epochs, found['seconds'], found['device'])}")
    return 0


def slim(run: Path) -> None:
    """Write the run's network alone, for moving: no optimiser, no momentum encoder."""
    state = checkpoint.load(run)
    kept = {name: value for name, value in state["method"].items() if name.startswith("model.")}
    checkpoint.save(run / WEIGHTS, {"config": state["config"], "step": state["step"], "method": kept})


def export_command(run: Path, data: Path, epochs: int, seconds: float, device: str) -> str:
    """For a bundle that replaces the default one, whose words about data and licence stay."""
    (folder,) = (card.parent for card in MODELS_DIR.glob(f"*/{CARD_FILE}"))
    old = Bundle.open(folder).card
    config = serialization.read(run)
    words = {
        "--checkpoint": run / WEIGHTS,
        "--out": f"amcl_serve/models/{folder.name}",
        "--precision": "fp16,int8",
        "--images": data / "test",
        "--train-images": data / "train",
        "--large-images": "PHOTOGRAPHS",
        "--name": old.name,
        "--description": f"{config.backbone.name} at {config.data.image_size} px, {config.heads.num} "
        f"heads, {config.temperature.kind} temperatures, trained without labels on Tiny-ImageNet for {epochs} "
        "epochs.",
        "--training-data": old.training_data,
        "--licence": old.licence,
        "--note": f"{epochs} epochs on one {device}, {seconds / 60:.0f} minutes of training.",
    }
    return " \\\n    ".join(
        ["python -m export", *(f"{flag} {shlex.quote(str(value))}" for flag, value in words.items())]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study.default_model", description="The default model's run."
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--data", type=Path, required=True, help="Tiny-ImageNet, a folder with train/ and test/")
    parser.add_argument("--name", default="default-model", help="of the run, another for another recipe")
    parser.add_argument("--recipe", default="simclr", help="of training.pretrain")
    parser.add_argument("--constant", action="store_true", help="one head and a constant temperature")
    parser.add_argument("--epochs", type=int, default=0, help="0: as many as --total-minutes take")
    parser.add_argument("--total-minutes", type=float, default=25.0, help="of training, in all pieces together")
    add_budget(parser, "default_model.jsonl")
    return parser


if __name__ == "__main__":
    sys.exit(main())
