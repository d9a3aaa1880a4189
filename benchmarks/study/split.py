"""Held-out training images, so that test images choose nothing."""

from __future__ import annotations

from pathlib import Path

from training.data import list_images

HELD_OUT = 10  # one image of so many


def make_split(train: Path, split: Path) -> None:
    """Links to the images of `train`: split/val has every tenth of each class, split/train the others.

    One that is there already is left as it is.
    """
    if split.exists():
        return
    half = split.with_name(f"{split.name}.half")
    for folder in sorted(path for path in train.absolute().iterdir() if path.is_dir()):
        for part in ("train", "val"):
            (half / part / folder.name).mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(list_images(folder)):
            link = half / ("val" if number % HELD_OUT == HELD_OUT - 1 else "train") / folder.name / path.name
            if not link.is_symlink():
                link.symlink_to(path)
    half.rename(split)
