"""Twelve short runs: each framework, standard and adaptive, on CIFAR-10 with a narrow network; kNN against untrained.

    python -m benchmarks.study.six_methods --data CIFAR --runs RUNS [KEY=VALUE ...]

CIFAR is a folder with train/ and test/, a folder a class below each. A run that RUNS holds already is not made again,
one that was interrupted goes on. Everything but size and length is the recipe's default. Writes the runs' curves to
benchmarks/results/six_methods.jsonl and docs/images/six_methods.svg, and prints docs/benchmarks/training.md's table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from training import data
from training.config import Config, recipes, serialization
from training.judging import inference
from training.model.model import AmclModel
from training.run import checkpoint, journal

RESULTS, FIGURE = Path("benchmarks/results/six_methods.jsonl"), Path("docs/images/six_methods.svg")
COMMON = ["data.image_size=32", "eval.bank_limit=20000", "eval.every=3"]
_RESNET = ["backbone.width=16"]
_WIDE_HEADS = [*_RESNET, "heads.hidden=512", "heads.dim=512"]  # SimSiam's and Barlow Twins' are wider than the others'
_VIT = ["backbone.width=64", "backbone.depth=4", "backbone.patch=4", "backbone.attention_heads=2"]
_VIT += ["masked.decoder_width=64", "masked.decoder_depth=1", "masked.decoder_heads=2", "train.warmup_epochs=0.5"]
SIZES = {
    "simclr": [*_RESNET, "train.epochs=12"],
    "moco": [*_RESNET, "train.epochs=10"],
    "simsiam": [*_WIDE_HEADS, "heads.predictor_hidden=128", "train.epochs=10"],
    "barlow_twins": [*_WIDE_HEADS, "train.epochs=10"],
    "lgp": [
        *_VIT,
        "heads.hidden=256",
        "heads.dim=128",
        "heads.predictor_hidden=256",
        "masked.epochs=3",
        "train.epochs=3",
    ],
    "can": [*_VIT, "train.epochs=5"],
}
COLOURS = {"standard": "#0072b2", "adaptive": "#d55e00"}


@dataclass(frozen=True)
class Curve:
    """What a run's journal and its config tell."""

    method: str
    kind: str
    knn: list[tuple[float, float]]  # (epoch, accuracy), the untrained network's first
    rank: list[tuple[float, float]]  # (epoch, effective rank of a batch's features)
    minutes: float

    @property
    def gain(self) -> float:
        """Points of kNN over the untrained network."""
        return 100 * (self.knn[-1][1] - self.knn[0][1])


def train(method: str, kind: str, folder: Path, cifar: Path, words: list[str]) -> None:
    """Make or go on with one run."""
    command = [sys.executable, "-m", "training.pretrain", f"--out={folder}"]
    if (folder / checkpoint.FILE).exists():
        command.append("--resume")
    else:
        command += [method, *(["--adaptive"] if kind == "adaptive" else []), f"--data=folder:{cifar}/train"]
        command += [f"--eval=folder:{cifar}", *COMMON, *SIZES[method], *words]
    subprocess.run(command, check=True)


def untrained_knn(config: Config, labelled: data.Labelled) -> float:
    """Of the network of `config` with its initial weights; batch norms at their initial statistics."""
    torch.manual_seed(config.train.seed)
    return inference.knn(AmclModel(config).backbone, labelled, config, torch.device("cpu")).accuracy


def curve(method: str, kind: str, folder: Path, floors: dict[str, float], cifar: Path) -> Curve:
    """Read a run; `floors` keeps the untrained networks' accuracies, by backbone."""
    config = serialization.read(folder)
    key = str(config.backbone)
    if key not in floors:
        floors[key] = untrained_knn(config, data.open_labelled(f"folder:{cifar}", bank_limit=config.eval.bank_limit))
    lines = journal.read(folder)
    knn = [(0.0, floors[key])] + [(line["epoch"], line["knn"]) for line in lines if "knn" in line]
    rank = [(line["epoch"], line["effective_rank"]) for line in lines if "effective_rank" in line]
    return Curve(
        method, kind, knn, rank[:: max(1, len(rank) // 40)] + rank[-1:], checkpoint.load(folder)["seconds"] / 60
    )


def table(curves: list[Curve]) -> str:
    """Markdown."""
    rows = ["| framework | | kNN untrained | kNN | points | effective rank, least and last | minutes |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    rows += [
        f"| {c.method} | {c.kind} | {c.knn[0][1]:.4f} | {c.knn[-1][1]:.4f} | {c.gain:+.1f} "
        f"| {min(r for _, r in c.rank):.1f}, {c.rank[-1][1]:.1f} | {c.minutes:.0f} |"
        for c in curves
    ]
    return "\n".join(rows)


def draw(curves: list[Curve], path: Path) -> None:
    """Two rows of panels, a framework a column: kNN and effective rank over epochs."""
    plt.rcParams.update({"svg.hashsalt": "amcl", "font.size": 8, "font.family": "DejaVu Sans"})
    methods = list(dict.fromkeys(c.method for c in curves))
    figure, axes = plt.subplots(2, len(methods), figsize=(2.1 * len(methods), 4), sharex="col", squeeze=False)
    for c in curves:
        column = methods.index(c.method)
        for row, points in enumerate((c.knn, c.rank)):
            scale = 100 if row == 0 else 1
            marker = "o" if row == 0 else None
            x, y = [p[0] for p in points], [scale * p[1] for p in points]
            axes[row, column].plot(
                x, y, color=COLOURS[c.kind], label=c.kind, marker=marker, markersize=3, linewidth=1.2
            )
        axes[0, column].axhline(100 * c.knn[0][1], color="#888888", linewidth=0.8, linestyle=":")
        axes[0, column].set_title(c.method)
        axes[1, column].set_xlabel("epoch")
    top = max(100 * accuracy for c in curves for _, accuracy in c.knn)
    for column in range(len(methods)):
        axes[0, column].set_ylim(15, top + 5)
        axes[1, column].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("kNN accuracy, % (k = 20)")
    axes[1, 0].set_ylabel("effective rank of features")
    axes[0, 0].legend(frameon=False, loc="center right")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#dddddd", linewidth=0.5)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Train what is missing, then collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as a folder with train/ and test/")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are or will be")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="for every run, such as train.threads=1")
    args = parser.parse_intermixed_args()
    curves, floors = [], {}
    for method in recipes.RECIPES:
        for kind in COLOURS:
            folder = args.runs / f"{method}-{kind}"
            train(method, kind, folder, args.data, args.words)
            curves.append(curve(method, kind, folder, floors, args.data))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("".join(json.dumps(vars(c)) + "\n" for c in curves))
    draw(curves, FIGURE)
    print(table(curves))


if __name__ == "__main__":
    main()
