"""What reducing photographs costs and saves, an image: `python -m benchmarks.training.reduced`.

Three tables, from made photographs of 12 megapixels (`benchmarks.training.photos`) and scikit-learn's two real ones:

- milliseconds of a core to read an image and crop it twice: whole, reduced, kept for the first time, from the cache;
- bytes of a reduced image, and milliseconds of a core to read it, as raw pixels and in file formats;
- views of 64 px of the real ones by the side that they were reduced to, over the views' own: the mean difference from
  views of the whole, in levels of 255, and the share of the whole's finest contrast (differences of neighbours) that is
  left. Boxes are the same, fractions of a pixel included.

Time is that of the processor, so that another's work matters little. Two minutes on a core.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from amcl_serve.evaluation.views.crop import crop
from amcl_serve.model.pixels import upright
from benchmarks.training.photos import photograph
from training import data
from training.augment import DRAWS, Augmentation
from training.config import AugmentConfig
from training.data.reduced import Reduced, shorter_side

PHOTOS, SIZES = 8, (64, 224)
FACTORS = (1, 1.5, 2, 2.582, 3, 4)  # 2.582: the default's
FORMATS = {
    "JPEG, quality 95": ("JPEG", {"quality": 95, "subsampling": 0}),
    "PNG, level 1": ("PNG", {"compress_level": 1}),
    "WebP, lossless": ("WEBP", {"lossless": True, "method": 0}),
}


def milliseconds(act: Callable[[], object], count: int = 1) -> float:
    """Of this process's cores, for one of `count`."""
    began = time.process_time()
    act()
    return (time.process_time() - began) / count * 1000


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def costs(folder: Path, size: int) -> None:
    augmentation = Augmentation(AugmentConfig(), size)
    images = data.FolderImages(folder)
    side = shorter_side(augmentation)
    cache = data.Cache(folder.parent / str(size), 1 << 30)
    cache.check()
    kept = Reduced(images, side, cache)
    ways = {"whole": images, "reduced": Reduced(images, side), "kept for the first time": kept, "from the cache": kept}
    u = np.random.default_rng(0).random((2, 1, DRAWS))

    def read(source: data.Images | Reduced) -> None:
        for index in range(PHOTOS):
            image = source.load(index)
            drawn = augmentation.decide(u, *np.array(image.size, float)[:, None])
            for box in drawn.boxes:
                crop(image, box, False, size)

    for name, source in ways.items():
        print(f"{size} px, shorter side {side}: {name:24s} {milliseconds(lambda: read(source), PHOTOS):7.2f} ms")  # noqa: B023


def formats(photo: bytes, size: int) -> None:
    image = upright(photo, side=shorter_side(Augmentation(AugmentConfig(), size)))
    raw = image.tobytes()
    ways = {"raw": (raw, lambda: Image.frombytes("RGB", image.size, raw))}
    for name, (kind, options) in FORMATS.items():
        file = encoded(image, kind, **options)
        ways[name] = file, lambda file=file: Image.open(BytesIO(file)).load()
    for name, (file, act) in ways.items():
        act()
        spent = milliseconds(lambda: [act() for _ in range(20)], 20)  # noqa: B023
        print(f"{image.width} x {image.height} {name:18s} {len(file):9,d} bytes {spent:7.2f} ms")


def views(name: str, photo: bytes, size: int = 64, count: int = 100) -> None:
    whole = upright(photo)
    u = np.random.default_rng(0).random((2, count // 2, DRAWS))
    sizes = np.tile(np.array(whole.size, float)[:, None], count // 2)
    boxes = Augmentation(AugmentConfig(kinds="a"), size).decide(u, *sizes).boxes

    def cropped(image: Image.Image) -> np.ndarray:
        scale = np.tile(np.array(image.size) / whole.size, 2)
        return np.stack([crop(image, box * scale, False, size) for box in boxes]).astype(float)

    expected = cropped(whole)
    for factor in FACTORS:
        found = cropped(upright(photo, side=math.ceil(size * factor)))
        contrast = np.abs(np.diff(found, axis=2)).mean() / np.abs(np.diff(expected, axis=2)).mean()
        print(f"{name} side {factor:5.3f}: difference {np.abs(found - expected).mean():.2f}, contrast {contrast:.3f}")


def main() -> int:
    """Print the tables."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        photos = [encoded(photograph(number), quality=90) for number in range(PHOTOS)]
        for number, photo in enumerate(photos):
            (folder / f"{number}.jpg").write_bytes(photo)
        for size in SIZES:
            costs(folder, size)
        for size in SIZES:
            formats(photos[0], size)
    found = load_sample_images()
    for name, pixels in zip(found.filenames, found.images, strict=True):
        views(Path(name).stem, encoded(Image.fromarray(pixels), quality=95))
    return 0


if __name__ == "__main__":
    sys.exit(main())
