"""The networks of `label_free.py`: small runs that differ in what users' runs differ in, and one near collapse."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from training.data import list_images

TRAIN_IMAGES = 500  # of each class
COMMON = (
    "data.image_size=32",
    "data.workers=0",
    "data.resident=always",
    "train.batch_size=128",
    "train.threads=1",
    "train.device=cpu",
    "backbone.stem=small",
    "heads.hidden=256",
    "heads.dim=64",
)


@dataclass(frozen=True)
class Plan:
    """One run: its name, its recipe and its words, which come after those of `COMMON`."""

    name: str
    recipe: str
    own: tuple[str, ...] = ()
    width: int = 16
    epochs: int = 4

    @property
    def words(self) -> tuple[str, ...]:
        """For `training.pretrain`, all but the images."""
        size = (f"backbone.width={self.width}", f"train.epochs={self.epochs}")
        return (self.recipe, *COMMON, *size, *self.own)

    @property
    def folder(self) -> str:
        """Another for other words."""
        return f"{self.name}-{hashlib.sha256(' '.join(self.words).encode()).hexdigest()[:8]}"


_ADAPTIVE = ("heads.num=3", "temperature.kind=adaptive")
_JOINT = ("loss.heads=joint", "temperature.value=0.3", "temperature.low=0.09", "temperature.high=1.5")

# In this order, so that a study that was stopped has some of each kind.
PLANS = (
    Plan("simclr", "simclr"),
    Plan("simclr-crops", "simclr", ("augment.kinds=a",)),
    Plan("simclr-adaptive", "simclr", _ADAPTIVE),
    Plan("moco", "moco", ("momentum.queue=1024",)),
    Plan("simclr-1-epoch", "simclr", epochs=1),
    Plan("barlow-twins", "barlow_twins", ("heads.hidden=512", "heads.dim=512")),
    Plan("simsiam-collapsing", "simsiam", ("heads.dim=256", "heads.predictor_hidden=64", *_ADAPTIVE,
                                           "temperature.beta=1", "temperature.eta=1")),
    Plan("simclr-flips", "simclr", ("augment.kinds=e",)),
    Plan("simclr-hot", "simclr", ("temperature.value=1",)),
    Plan("simclr-8-wide", "simclr", width=8),
    Plan("simsiam", "simsiam", ("heads.dim=256", "heads.predictor_hidden=64")),
    Plan("simclr-joint-adaptive", "simclr", (*_ADAPTIVE, *_JOINT)),
    Plan("simclr-cold", "simclr", ("temperature.value=0.03",)),
    Plan("simclr-blur", "simclr", ("augment.kinds=abcde",)),
    Plan("simclr-10-epochs", "simclr", epochs=10),
    Plan("simclr-24-wide", "simclr", width=24),
)  # fmt: skip


def make_images(cifar: Path, into: Path) -> None:
    """Links: into/train with the first images of each class of cifar/train; of those of cifar/test the first half in
    into/test, the second in into/apart without folders, to be judged by without labels.

    A folder that is there already is left as it is.
    """
    if into.exists():
        return
    half = into.with_name(f"{into.name}.half")
    for folder in _classes(cifar / "train"):
        for path in list_images(folder)[:TRAIN_IMAGES]:
            _link(half / "train" / folder.name / path.name, path)
    for folder in _classes(cifar / "test"):
        for number, path in enumerate(images := list_images(folder)):
            within = (
                f"test/{folder.name}/{path.name}" if number < len(images) // 2 else f"apart/{folder.name}-{path.name}"
            )
            _link(half / within, path)
    half.rename(into)


def _classes(part: Path) -> list[Path]:
    return sorted(path for path in part.absolute().iterdir() if path.is_dir())


def _link(link: Path, path: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(path)
