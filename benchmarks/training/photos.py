"""How fast photographs are read in training, before there was a cache of reduced ones and with it.

    python -m benchmarks.training.photos [--photos 500] [--folder DIR]

Photographs of 12 megapixels are made (4000 x 3000 JPEG of shapes under fine and coarse noise, 3 to 6 MB), and SimCLR
with a ResNet-18 of width 16 trains on them for two epochs at the default 64 px, by the command `training.pretrain`:
decoding each whole with two workers, as earlier versions did; at reduced scale without a cache; and with one. It prints
images a second of every epoch, and those of the second epoch's batches when nothing but their reading is done, without
the network: `second_epoch_over_before` and `second_epoch_reading_over_before`. The aim, 10, is the reading's: what a
run gains ends where the network is what it waits for. 500 photographs take 2.2 GB, and about 12 minutes on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from training import data, machine
from training.augment import Augmentation
from training.config import serialization
from training.run import journal

SIZE = (4000, 3000)
_SPARE = 500
BATCH, EPOCHS = 32, 2
BEFORE = "whole, two workers (before)"
WAYS = {
    BEFORE: ["data.reduce=never", "data.workers=2"],
    "reduced scale, no cache": ["data.cache_gib=0"],
    "reduced scale, cache": [],
}
AIM = 10


def photograph(seed: int) -> Image.Image:
    """Shapes and soft colours; noise of one pixel and of two, as a sensor's and as texture."""
    random = np.random.default_rng(seed)
    width, height = SIZE
    image = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        left, top, side = random.integers((0, 0, 30), (width, height, 900)).tolist()
        colour = tuple(random.integers(0, 256, 3).tolist())
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)((left, top, left + side, top + side), fill=colour)
    left, top = random.integers(0, _SPARE, 2)
    noise = _noise()[top : top + height, left : left + width]
    return Image.fromarray((np.asarray(image, np.int16) + noise[..., None]).clip(0, 255).astype(np.uint8))


@cache
def _noise() -> npt.NDArray[np.int16]:
    """Brightness int16 [H, W], larger than a photograph: each takes a part of its own."""
    random = np.random.default_rng(0)
    width, height = (side + _SPARE for side in SIZE)
    coarse = Image.fromarray(random.normal(0, 9, (height // 2, width // 2)).astype(np.float32))
    fine = random.normal(0, 5, (height, width))
    return (np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)) + fine).round().astype(np.int16)


def write(folder: Path, number: int) -> int:
    """One photograph as a file: its bytes."""
    path = folder / f"{number:05d}.jpg"
    photograph(number).save(path, quality=90)
    return path.stat().st_size


def epochs(folder: Path, out: Path, photos: int, words: Sequence[str]) -> list[float]:
    """Images a second of every epoch of a run."""
    steps = photos // BATCH
    command = [sys.executable, "-m", "training.pretrain", "simclr", f"--data=folder:{folder}", f"--out={out}"]
    command += ["backbone.width=16", f"train.batch_size={BATCH}", f"train.epochs={EPOCHS}", f"train.log_every={steps}"]
    subprocess.run([*command, "train.log_to=none", *words], check=True, stdout=sys.stderr)
    return [line["images_per_second"] for line in journal.read(out) if "images_per_second" in line]


def reading(out: Path) -> float:
    """Images a second of the second epoch's batches of the run in `out`, read by its workers as the run reads them."""
    settings = serialization.read(out)
    sizes, train = settings.data, settings.train
    images = data.open_images(sizes.spec)
    steps = len(images) // train.batch_size
    stream = data.batches(
        images,
        Augmentation(settings.augment, sizes.image_size),
        batch_size=train.batch_size,
        seed=train.seed,
        start=steps,
        stop=2 * steps,
        workers=sizes.workers,
        device=torch.device("cpu"),
        resident="never",
        reduce=sizes.reduce == "auto",
        cache=data.open_cache(sizes.cache, out, sizes.cache_gib),
    )
    began = time.perf_counter()
    read = sum(train.batch_size for _ in stream)
    return read / (time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.photos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--photos", type=int, default=500, metavar="N", help="(500)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="photographs that are there already, as many as N")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="photos-") as temporary:
        folder = options.folder or Path(temporary) / "photos"
        if options.folder is None:
            folder.mkdir()
            with multiprocessing.Pool(machine.cores()) as pool:
                sizes = pool.starmap(write, zip(repeat(folder), range(options.photos)))
            print(f"{len(sizes)} photographs of {min(sizes) / 1e6:.1f} to {max(sizes) / 1e6:.1f} MB", flush=True)
        print(f"{platform.machine()}, {machine.cores()} cores; images a second of both epochs, and of reading alone")
        rates: dict[str, list[float]] = {}
        for number, (name, words) in enumerate(WAYS.items()):
            out = Path(temporary) / str(number)
            rates[name] = [*epochs(folder, out, options.photos, words), reading(out)]
            print(f"{name:28s} {'  '.join(f'{rate:7.1f}' for rate in rates[name])}", flush=True)
        kept = sum(path.stat().st_size for path in (Path(temporary) / f"{len(WAYS) - 1}" / "cache").iterdir())
    print(f"cache_mb = {kept / 1e6:.0f}")
    *_, cached = rates.values()
    print(f"first_epoch_over_before = {cached[0] / rates[BEFORE][0]:.2f}")
    print(f"second_epoch_over_before = {cached[1] / rates[BEFORE][1]:.1f}")
    ratio = cached[2] / rates[BEFORE][2]
    print(f"second_epoch_reading_over_before = {ratio:.1f}")
    return 0 if ratio >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
