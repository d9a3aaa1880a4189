"""What AMCL training from published weights adds on one's own images: kNN before and after.

    python -m benchmarks.study.starting_weights --data CIFAR       trains and measures what is missing
    python -m benchmarks.study.starting_weights --print            the table of what there is, as Markdown

CIFAR has train/ and test/ with a folder for each class. The weights are EfficientNet-Lite0's of ImageNet (`lite0`).
One's own images are 10,000 of CIFAR-10's training images: networks learn from them without labels (`training.pretrain
simclr --adaptive --init`), and they are the bank of kNN, k = 20, by the class of the folder. The rate is chosen by
2,000 other training images as queries; the table's figures are of the 10,000 test images, which chose nothing. Every
network sees images of one size. Each is one line of `--results`; the same command goes on where it was stopped, and
`--only NAME` makes one of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amcl_serve.metrics.knn import knn_accuracy
from benchmarks.study import lite0
from benchmarks.study.budget import Budget, Failed, OutOfTime, add_budget, append, pretrain, read
from export import whiten
from training import config as configs
from training.config import Config, recipes
from training.data import FolderImages, Subset, list_images
from training.judging import inference
from training.model.backbones import state_dicts
from training.model.model import AmclModel, untrained
from training.report.runs import open_run
from training.run import checkpoint, weights

OUT_OF_TIME = 3
K = 20
TRAIN, CHOOSE = 1000, 200  # images of each class
COMMON = (
    "data.image_size=64",
    "data.workers=0",
    "data.resident=always",
    "train.batch_size=128",
    "train.threads=1",
    "train.device=cpu",
    "train.precision=fp32",  # depthwise convolutions in bf16 take half as long again on a CPU
    f"backbone.name={lite0.NAME}",
)


@dataclass(frozen=True)
class Plan:
    """One network: from published weights or from random ones, with words of its own; 0 epochs: as it begins.

    A `trial` is judged by the images that rates are chosen by.
    """

    name: str
    published: bool
    epochs: int
    own: tuple[str, ...] = ()
    trial: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """For `training.pretrain`, all but images and weights."""
        return (*COMMON, *((f"train.epochs={self.epochs}",) if self.epochs else ()), *self.own)

    @property
    def folder(self) -> str:
        """Another for other words."""
        return f"{self.name.replace(' ', '-')}-{hashlib.sha256(' '.join(self.words).encode()).hexdigest()[:8]}"


EPOCHS = 4
RATE, KEPT_RATE = "0.06", "0.006"  # by the trials, half whitened
_KEPT = "train.keep_norms=true"
PLANS = (
    Plan("trial, published", True, 0, trial=True),
    *(Plan(f"trial {rate}", True, 1, (f"train.lr={rate}",), trial=True) for rate in ("0.006", "0.02", "0.06")),
    *(
        Plan(f"trial {rate}, norms kept", True, 1, (f"train.lr={rate}", _KEPT), trial=True)
        for rate in ("0.006", "0.02")
    ),
    Plan("published", True, 0),
    Plan("published, norms alone", True, 1, ("train.lr=1e-30", "train.max_steps=40")),
    Plan("AMCL from published", True, EPOCHS, (f"train.lr={RATE}",)),
    Plan("AMCL from published, norms kept", True, 1, (f"train.lr={KEPT_RATE}", _KEPT)),
    Plan("AMCL from published, norms kept, as long", True, EPOCHS, (f"train.lr={KEPT_RATE}", _KEPT)),
    Plan("random", False, 0),
    Plan("AMCL from random", False, EPOCHS),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, or print what there is."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.print:
        print(render(read(options.results)))
        return 0
    if options.data is None:
        parser.error("--data is missing: CIFAR-10 as a folder with train/ and test/")
    home = Path(options.runs).absolute()
    make_images(options.data, home / "images")
    if not (file := home / "efficientnet-lite0.safetensors").exists():
        lite0.write_weights(file)
    done = {(line["name"], tuple(line["words"])) for line in read(options.results)}
    wanted = [plan for plan in PLANS if options.only in (None, plan.name)]
    if not wanted:
        parser.error(f"--only is one of: {', '.join(plan.name for plan in PLANS)}")
    try:
        with Budget(options.minutes) as budget:
            for plan in wanted:
                if (plan.name, plan.words) not in done:
                    make(plan, home, file, options, budget)
    except OutOfTime:
        print("the time is up; the same command goes on")
        return OUT_OF_TIME
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.only is None:
        print(render(read(options.results)))
    return 0


def make(plan: Plan, home: Path, file: Path, options: argparse.Namespace, budget: Budget) -> None:
    """Train one network, if it is to be, and measure it."""
    torch.set_num_threads(1)
    step, seconds = 0, 0.0
    if plan.epochs:
        folder = home / plan.folder
        begun = (folder / checkpoint.FILE).exists()
        init = [f"--init={file}"] if plan.published and not begun else []
        words = ["simclr", "--adaptive", *init, *plan.words, f"--data=folder:{home / 'images/train'}"]
        pretrain(budget, folder, words)
        run, state = open_run(folder, "cpu"), checkpoint.load(folder)
        model, config, step, seconds = run.model, run.config, run.step, state["seconds"]
    else:
        model, config = beginning(plan, file)
    found = measure(model, config, home / "images", "choose" if plan.trial else "test")
    line = {"name": plan.name, "words": list(plan.words), "trial": plan.trial, "published": plan.published,
            "step": step, "images_seen": step * config.train.batch_size, "seconds": round(seconds, 1),
            "size": config.data.image_size, **found, "commit": options.commit}  # fmt: skip
    append(options.results, line)
    print(f"{plan.name}: kNN {line['knn']:.4f}, half whitened {line['knn_whitened']:.4f}; {seconds:.0f} s of training, "
          f"{line['evaluation_seconds']:.0f} s of measuring", flush=True)  # fmt: skip


def beginning(plan: Plan, file: Path) -> tuple[AmclModel, Config]:
    """The network before its first step."""
    config = configs.override(recipes.adaptive(recipes.recipe("simclr")), plan.words)
    config = weights.normalised_as_published(configs.validate(config), set())
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, device="cpu", precision="fp32"))
    model = untrained(config)
    if plan.published:
        state_dicts.load_matching(model.backbone, state_dicts.read(file))
    return model, config


def measure(model: AmclModel, config: Config, images: Path, part: str) -> dict[str, Any]:
    """kNN of the images of `part` by those of train/, of features as they are and half whitened on train/."""
    began = time.perf_counter()
    bank, queries = (FolderImages(images / name) for name in ("train", part))
    known, asked = (
        inference.features(model.backbone, Subset(each, np.arange(len(each))), config, torch.device("cpu"))[0]
        for each in (bank, queries)
    )
    whitening = whiten.fit(known, "half")
    assert whitening is not None
    whitened = ((rows - whitening.centre) @ whitening.matrix for rows in (known, asked))
    pairs = {"knn": (known, asked), "knn_whitened": tuple(whitened)}
    found: dict[str, Any] = {
        name: float(knn_accuracy(first, bank.labels, second, queries.labels, k=min(K, len(bank))))
        for name, (first, second) in pairs.items()
    }
    counts = {"bank": len(bank), "queries": len(queries), "feature_dim": known.shape[1]}
    return found | counts | {"evaluation_seconds": round(time.perf_counter() - began, 1)}


def make_images(cifar: Path, into: Path) -> None:
    """Links: into/train with the first images of each class of cifar/train, into/choose with the next; into/test.

    A folder that is there already is left as it is.
    """
    if into.exists():
        return
    half = into.with_name(f"{into.name}.half")
    for part in ("train", "test"):
        for folder in sorted(path for path in (cifar.absolute() / part).iterdir() if path.is_dir()):
            for number, path in enumerate(list_images(folder)):
                name = part if part == "test" or number < TRAIN else "choose"
                if part == "test" or number < TRAIN + CHOOSE:
                    link = half / name / folder.name / path.name
                    link.parent.mkdir(parents=True, exist_ok=True)
                    if not link.is_symlink():
                        link.symlink_to(path)
    half.rename(into)


def render(lines: Sequence[dict[str, Any]]) -> str:
    """Two tables: what was tried, and what came of it."""
    parts = []
    for trial, head in ((True, "tried"), (False, "network")):
        rows = [f"| {head} | words | images seen | minutes | kNN | half whitened |", "| --- " * 6 + "|"]
        rows += [
            f"| {line['name']} | {' '.join(line['words'][len(COMMON) :])} | {line['images_seen']:,} "
            f"| {line['seconds'] / 60:.0f} | {_share(line, 'knn')} | {_share(line, 'knn_whitened')} |"
            for line in lines
            if line["trial"] == trial
        ]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _share(line: dict[str, Any], name: str) -> str:
    share = line[name]
    return f"{share:.3f} ± {(share * (1 - share) / line['queries']) ** 0.5:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study.starting_weights", description="What training from published weights adds."
    )
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a folder with train/ and test/")
    parser.add_argument("--print", action="store_true", help="the tables of what there is, as Markdown; trains nothing")
    parser.add_argument("--only", metavar="NAME", help="this network alone; several may be made at once")
    add_budget(parser, "starting_weights.jsonl")
    parser.set_defaults(minutes=60.0, runs=Path("runs/starting_weights"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
