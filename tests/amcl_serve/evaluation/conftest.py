"""Small folders of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(seed: int, colour: tuple[int, int, int] = (128, 128, 128), side: int = 24) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(-90, 90, (4, 4, 3)) + np.array(colour)
    return Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes of 40 images each, told apart by their colour."""
    root = tmp_path / "photos"
    for number, (name, colour) in enumerate(
        {"red": (230, 40, 40), "green": (40, 230, 40), "blue": (40, 40, 230)}.items()
    ):
        (root / name).mkdir(parents=True)
        for index in range(40):
            picture(1000 * number + index, colour).save(root / name / f"{index:03}.png")
    return root


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """64 images in one folder."""
    root = tmp_path / "plain"
    root.mkdir()
    for index in range(64):
        picture(index).save(root / f"{index:03}.png")
    return root
