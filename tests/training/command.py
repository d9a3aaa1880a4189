"""The command at a tiny size, for the tests of it."""

from __future__ import annotations

from pathlib import Path

from training.config import recipes
from training.pretrain import main
from training.run import journal

SMALL = [
    "data.image_size=16",
    "data.workers=0",
    "train.device=cpu",
    "backbone.width=4",
    "heads.hidden=16",
    "heads.dim=8",
    "train.batch_size=8",
    "train.threads=1",
    "train.log_every=1",
    "eval.k=3",
]

VIT = ["backbone.patch=4", "backbone.attention_heads=1", "backbone.depth=3", "backbone.width=8"]
VIT += ["masked.decoder_width=8", "masked.decoder_depth=1", "train.warmup_epochs=0"]
OF: dict[str, list[str]] = {name: [] for name in recipes.RECIPES} | {
    "moco": ["momentum.queue=40"],
    "lgp": [*VIT, "masked.epochs=1"],
    "can": VIT,
}


def losses(run: Path) -> dict[int, float]:
    lines = journal.read(run)
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def train(folder: Path, out: Path, *more: str) -> int:
    return main([*more, f"--data=folder:{folder}", f"--out={out}", *SMALL])
