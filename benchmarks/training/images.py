"""Images to train on where none are at hand. To the speed it matters that JPEG files are read, not what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = 4


def write_images(folder: Path, count: int, size: int) -> None:
    """JPEG files of coloured shapes on coarse noise, in a folder for each of four classes."""
    random = np.random.default_rng(0)
    for number in range(count):
        noise = Image.fromarray(random.integers(0, 256, (size // 4, size // 4, 3), np.uint8))
        image = noise.resize((size, size), Image.Resampling.BICUBIC)
        box = (random.random(2) * size / 2).tolist()
        box += [corner + size / 3 for corner in box]
        draw = ImageDraw.Draw(image)
        colour = tuple(random.integers(0, 256, 3).tolist())
        (draw.ellipse if number % 2 else draw.rectangle)(box, fill=colour)
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.save(path, quality=90)
