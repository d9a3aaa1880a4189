"""The images that an export is measured on: encoded files with optional labels, decoded as the server does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.protocols.view_sets import range_indices
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.formats.reading import shorter_side
from amcl_serve.model.pixels import OWN_FILES_MAX_PIXELS, decode, upright
from export.errors import UsageError
from export.networks import BATCH, Pixels
from training.data import list_images
from training.machine import cores


@dataclass(frozen=True)
class ImageSet:
    """Encoded images by number; `labels` is None when they are not sorted into classes."""

    names: Sequence[str]
    read: Callable[[int], bytes]
    labels: Sequence[str] | None

    def __len__(self) -> int:
        """How many."""
        return len(self.names)


def folder_images(folder: Path) -> ImageSet:
    """The images under `folder`; the first level of sub-folders are labels. UsageError if there are none."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of images")
    paths = list_images(folder)
    if not paths:
        raise UsageError(f"no images under {folder}")
    parts = [path.relative_to(folder).parts for path in paths]
    classes = [part[0] if len(part) > 1 else None for part in parts]
    labels = [name for name in classes if name is not None]
    return ImageSet(
        names=["/".join(part) for part in parts],
        read=lambda index: paths[index].read_bytes(),
        labels=labels if len(labels) == len(paths) and len(set(labels)) > 1 else None,
    )


def synthetic_pixels(count: int, size: int) -> Pixels:
    """Deterministic stand-ins for photographs, uint8 [count, size, size, 3]: smoothed noise of varied contrast."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    contrast = rng.uniform(0.2, 1.0, (count, 1, 1, 1))
    return (np.stack(smooth) * contrast).astype(np.uint8)


def pixels(images: ImageSet, indices: Sequence[int], spec: InputSpec) -> Pixels:
    """The images of `indices` as the server sees them, uint8 [N, S, S, 3]; UsageError names one it cannot decode."""

    def one(index: int) -> Pixels:
        try:
            return decode(images.read(index), spec, max_pixels=OWN_FILES_MAX_PIXELS)
        except AmclError as error:
            raise UsageError(f"{images.names[index]}: {error.detail}") from None

    with ThreadPoolExecutor(cores()) as pool:
        return np.stack(list(pool.map(one, indices)))


def batches(images: ImageSet, spec: InputSpec, indices: Sequence[int] | None = None) -> Iterator[Pixels]:
    """The images of `indices`, or all, in order, decoded a few batches at a time."""
    chosen = range(len(images)) if indices is None else indices
    step = 8 * BATCH
    for start in range(0, len(chosen), step):
        block = pixels(images, chosen[start : start + step], spec)
        yield from (block[row : row + BATCH] for row in range(0, len(block), BATCH))


def upright_rgb(images: ImageSet, index: int) -> Pixels:
    """One image at its own size, uint8 [H, W, 3]: what augmentation starts from. UsageError if it cannot be decoded."""
    try:
        return np.asarray(upright(images.read(index)))
    except AmclError as error:
        raise UsageError(f"{images.names[index]}: {error.detail}") from None


def least_large_side(spec: InputSpec) -> int:
    """From which sides on scaled decoding does anything: their half is twice the resized side, which it keeps."""
    return 4 * shorter_side(spec.size, spec.crop)


def is_large_jpeg(images: ImageSet, index: int, side: int) -> bool:
    """Whether it is a JPEG with no side below `side`."""
    try:
        with Image.open(BytesIO(images.read(index)), formats=("JPEG",)) as image:
            return min(image.size) >= side
    except (OSError, ValueError, SyntaxError):
        return False


def reported_indices(count: int, size: int, seed: int) -> list[int]:
    """The other images, shuffled by `seed`."""
    taken = set(range_indices(count, size))
    return [int(index) for index in np.random.default_rng(seed).permutation(count) if int(index) not in taken]
