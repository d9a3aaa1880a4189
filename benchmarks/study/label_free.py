"""Which figures that need no labels go with kNN: many small networks, and rank correlations over them.

    python -m benchmarks.study.label_free --data PATH        trains and measures what is missing
    python -m benchmarks.study.label_free --print            the table of what there is, as Markdown

PATH has train/ and test/ with a folder for each class, such as CIFAR-10. The networks are those of `label_free_plan`,
and their backbones before training. Half of the test images judge a network without labels, as `training.evaluate`
does; the other half query kNN (k = 20), whose bank are the training images. Each network is one line of `--results`;
the same command goes on where it was stopped, and with `--count 1` makes one and ends with exit code 3 while more are
missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from amcl_serve.metrics.knn import knn_accuracy
from benchmarks.study.budget import Budget, Failed, OutOfTime, add_budget, append, pretrain, read
from benchmarks.study.label_free_plan import PLANS, Plan, make_images
from benchmarks.study.label_free_print import render
from training import data
from training.judging import inference
from training.report.measure import measure_network, pair_images
from training.report.runs import Run, open_run, untrained
from training.run import checkpoint

OUT_OF_TIME = 3
K = 20
IMAGES, PAIRS = 2000, 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, or print what there is."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.print:
        print(render(read(options.results)))
        return 0
    if options.data is None:
        parser.error("--data is missing: CIFAR-10 as a folder with train/ and test/")
    images = Path(options.runs).absolute() / "images"
    make_images(options.data, images)
    done = {tuple(line["words"]) for line in read(options.results) if not line["untrained"]}
    missing = [plan for plan in PLANS if plan.words not in done]
    try:
        with Budget(options.minutes) as budget:
            for plan in missing[: options.count]:
                make(plan, images, options, budget)
    except OutOfTime:
        print(f"the time is up, with {len(missing)} of {len(PLANS)} networks missing; the same command goes on")
        return OUT_OF_TIME
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if len(missing) > options.count:
        return OUT_OF_TIME
    print(render(read(options.results)))
    return 0


def make(plan: Plan, images: Path, options: argparse.Namespace, budget: Budget) -> None:
    """Train and measure one network, and its backbone before training where no line has that yet."""
    folder = options.runs / plan.folder
    pretrain(budget, folder, [*plan.words, f"--data=folder:{images / 'train'}"])
    torch.set_num_threads(1)
    run, state = open_run(folder, "cpu"), checkpoint.load(folder)
    if not any(line["untrained"] and line["width"] == plan.width for line in read(options.results)):
        append(options.results, _line(plan, untrained(run), images, options.commit))
    line = _line(plan, run, images, options.commit) | {"seconds": round(state["seconds"], 1)}
    append(options.results, line)
    found = line["label_free"]
    print(f"{plan.name}: kNN {line['knn_20']:.4f}, RankMe {found['rankme']:.1f}, "
          f"pair AUROC {found['pair_auroc_abcde']:.4f}; {line['seconds']:.0f} s of training, "
          f"{line['evaluation_seconds']:.0f} s of measuring", flush=True)  # fmt: skip


def _line(plan: Plan, run: Run, images: Path, commit: str | None) -> dict[str, Any]:
    began = time.perf_counter()
    apart = data.open_held_out(f"folder:{images / 'apart'}", bank_limit=1).images.spaced(IMAGES)
    judged = measure_network(run, apart, None, pair_images(apart, PAIRS, seed=0), seed=0).label_free
    labelled = data.open_labelled(f"folder:{images}", bank_limit=10**9)
    parts = [(inference.features(run.model.backbone, part, run.config, run.device)[0], part.labels)
             for part in (labelled.bank, labelled.queries)]  # fmt: skip
    (bank, bank_labels), (queries, query_labels) = parts
    return {
        "name": plan.name if run.step else f"untrained, {plan.width} wide",
        "untrained": run.step == 0,
        "words": list(plan.words),
        "width": plan.width,
        "step": run.step,
        "knn_20": knn_accuracy(bank, bank_labels, queries, query_labels, k=K),
        "label_free": judged.numbers(),
        "bank": len(bank),
        "queries": len(queries),
        "images": judged.images,
        "pairs": judged.pairs,
        "feature_dim": run.model.feature_dim,
        "evaluation_seconds": round(time.perf_counter() - began, 1),
        "commit": commit,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study.label_free", description="What goes with kNN and needs no labels."
    )
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a folder with train/ and test/")
    parser.add_argument("--print", action="store_true", help="the table of what there is, as Markdown; trains nothing")
    parser.add_argument("--count", type=int, default=len(PLANS), help="networks at most, of those that are missing")
    add_budget(parser, "label_free.jsonl")
    parser.set_defaults(minutes=60.0, runs=Path("runs/label_free"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
