"""Small images of one size, all kept on the device as bytes, and cropped there a whole batch at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from training.augment import Augmentation, crop_batch, photometric
from training.data.plan import Plan
from training.data.reading import leave_signals_to_the_parent, read
from training.data.sources import ArrayImages, Images
from training.machine.transfer import put

_MAX_SIDE, _MAX_BYTES = 128, 2 << 30
_BLOCK = 256  # images that a worker reads at a time
_GREY = 127

Pixels = npt.NDArray[np.uint8]


class NotResident(Exception):
    """Why a set of images cannot be kept on the device."""


@dataclass(frozen=True)
class Store:
    """All images, uint8 [M, H, 3, W] on the device (the order that `crop_batch` wants), and which are only a grey."""

    pixels: Tensor
    broken: frozenset[int]


def load(images: Images, workers: int, device: torch.device, *, show: bool) -> Store:
    """Read every image once, by worker processes and with a progress bar if `show`; NotResident says why it cannot."""
    if isinstance(images, ArrayImages):
        _check(len(images), images.pixels.shape[1:3])
        return Store(torch.from_numpy(images.pixels).to(device).permute(0, 1, 3, 2).contiguous(), frozenset())
    first = next((i for i in (read(images, n) for n in range(min(len(images), _BLOCK))) if i is not None), None)
    if first is None:
        raise NotResident(f"none of the first {_BLOCK} images can be read")
    width, height = first.size
    _check(len(images), (height, width))
    pixels = torch.empty(len(images), height, 3, width, dtype=torch.uint8)
    blocks = DataLoader(
        _Blocks(images, (height, width)),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=leave_signals_to_the_parent,
    )
    done, broken = 0, []
    with tqdm(total=len(images), desc="reading images", unit="image", disable=None if show else True) as bar:
        for block, unread, odd in blocks:
            if odd is not None:
                raise NotResident(f"{images.name(odd)} differs in size from the first image's {width} x {height}")
            pixels[done : done + len(block)] = block.permute(0, 1, 3, 2)
            broken += unread
            done += len(block)
            bar.update(len(block))
    return Store(pixels.to(device), frozenset(broken))


def _check(count: int, size: tuple[int, ...]) -> None:
    height, width = size
    if max(size) > _MAX_SIDE:
        raise NotResident(f"the images are {width} x {height}, more than {_MAX_SIDE} pixels a side")
    if count * height * width * 3 > _MAX_BYTES:
        raise NotResident(f"{count} images of {width} x {height} take more than {_MAX_BYTES >> 30} GiB")


class _Blocks(Dataset[tuple[Tensor, list[int], int | None]]):
    """Blocks of images [n, H, W, 3], the numbers of unreadable ones, and the number of one of another size."""

    def __init__(self, images: Images, size: tuple[int, int]) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return -(-len(self.images) // _BLOCK)

    def __getitem__(self, block: int) -> tuple[Tensor, list[int], int | None]:
        numbers = range(block * _BLOCK, min((block + 1) * _BLOCK, len(self.images)))
        pixels: Pixels = np.full((len(numbers), *self.size, 3), _GREY, np.uint8)
        broken = []
        for row, index in enumerate(numbers):
            image = read(self.images, index)
            if image is None:
                broken.append(index)
            elif (image.height, image.width) != self.size:
                return torch.from_numpy(pixels), broken, index
            else:
                pixels[row] = np.asarray(image)
        return torch.from_numpy(pixels), broken, None


@dataclass(frozen=True)
class Stored:
    """A batch whose images [b] are on the device already: what is to be done to them, on the CPU, is all it holds."""

    pixels: Tensor
    size: int
    indices: Tensor
    boxes: Tensor
    flips: Tensor
    parameters: Tensor
    broken: list[int]

    def views(self, device: torch.device) -> Tensor:
        """See `stream.Batch`."""
        assert device.type == self.pixels.device.type
        chosen = self.pixels.index_select(0, put(self.indices, device))
        return photometric(
            crop_batch(chosen, put(self.boxes, device), put(self.flips, device), self.size), self.parameters
        )


class Resident:
    """The batches of some steps, of images in a store."""

    def __init__(self, store: Store, plan: Plan, augmentation: Augmentation, steps: range) -> None:
        self.store, self.plan, self.augmentation, self.steps = store, plan, augmentation, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Stored]:
        return map(self.batch, self.steps)

    def batch(self, step: int) -> Stored:
        """The batch of any step."""
        _, height, _, width = self.store.pixels.shape
        indices = self.plan.indices(step)
        ones = np.ones(len(indices))
        drawn = self.augmentation.decide(self.plan.uniforms(step), width * ones, height * ones)
        return Stored(
            self.store.pixels,
            self.augmentation.size_at(step),
            torch.from_numpy(indices),
            torch.from_numpy(drawn.boxes.astype(np.float32)),
            torch.from_numpy(drawn.flips),
            torch.from_numpy(drawn.parameters),
            [int(index) for index in indices if int(index) in self.store.broken] if self.store.broken else [],
        )
