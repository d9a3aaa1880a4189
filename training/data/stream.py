"""The stream of augmented batches a run consumes, a function of (seed, step).

Entered at any step, with any number of workers, read from files or from the device, it gives the same batches (up to
rounding between the last two).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from amcl_serve.evaluation.views.crop import crop
from amcl_serve.evaluation.views.draw import Floats
from training.augment import PARAMETERS, Augmentation, photometric
from training.data.cache import Cache
from training.data.plan import Plan
from training.data.reading import Loads, leave_signals_to_the_parent, read
from training.data.reduced import Reduced, reduced
from training.data.resident import NotResident, Resident, load
from training.data.sample import prepared, sample
from training.data.sources import Images, Numbers

_AHEAD = 2  # batches a worker prepares before they are wanted
_BLOCK = 16  # images that a worker holds at their full size


class Batch(Protocol):
    """The views of b images."""

    @property
    def broken(self) -> list[int]:
        """Numbers of the images that could not be read; a flat grey stands in."""
        ...

    def views(self, device: torch.device) -> Tensor:
        """The first views of the images, then their second: float32 [2b, 3, S, S] in [0, 1] on `device`."""
        ...


@dataclass(frozen=True)
class Cropped:
    """A batch from a worker: crops uint8 [2b, S, S, 3], and parameters [2b, P] of what is left for the device."""

    crops: Tensor
    parameters: Tensor
    broken: list[int]

    def pin_memory(self) -> Cropped:
        """Called by the loader where there is a GPU: page-locked tensors are copied while it computes."""
        return Cropped(self.crops.pin_memory(), self.parameters, self.broken)

    def views(self, device: torch.device) -> Tensor:
        """See `Batch`."""
        x = self.crops.to(device, non_blocking=True).permute(0, 3, 1, 2)
        return photometric(x.contiguous().float().div_(255), self.parameters)


class _Steps(Dataset[Cropped]):
    """The batch of a step, by its number; its images come from `source`."""

    def __init__(self, plan: Plan, augmentation: Augmentation, source: Loads) -> None:
        self.plan, self.augmentation, self.source = plan, augmentation, source

    def __getitem__(self, step: int) -> Cropped:
        size = self.augmentation.size_at(step)
        indices, uniforms = self.plan.indices(step), self.plan.uniforms(step)
        crops = np.empty((2, len(indices), size, size, 3), np.uint8)
        parameters = np.empty((2, len(indices), PARAMETERS), np.float32)
        broken: list[int] = []
        for start in range(0, len(indices), _BLOCK):
            rows = slice(start, start + _BLOCK)
            crops[:, rows], parameters[:, rows], unread = self._block(indices[rows], uniforms[:, rows], size)
            broken += unread
        return Cropped(torch.from_numpy(crops).flatten(0, 1), torch.from_numpy(parameters).flatten(0, 1), broken)

    def _block(
        self, indices: Numbers, uniforms: Floats, size: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[int]]:
        """Crops [2, n, S, S, 3], parameters [2, n, P] and the broken of n images, which are forgotten on return."""
        found = [read(self.source, int(index)) for index in indices]
        # A flat image keeps the batch's size and tells nothing; the run stops above 1 % of such.
        images = [image or Image.new("RGB", (size, size), (127, 127, 127)) for image in found]
        widths, heights = np.array([image.size for image in images], float).T
        drawn = self.augmentation.decide(uniforms, widths, heights)
        crops = [crop(*each, size) for each in zip(images * 2, drawn.boxes, drawn.flips.tolist(), strict=True)]
        return (
            np.stack(crops).reshape(2, len(images), size, size, 3),
            drawn.parameters.reshape(2, len(images), PARAMETERS),
            [int(index) for index, image in zip(indices, found, strict=True) if image is None],
        )


class Read:
    """The batches of some steps, read ahead by worker processes. `sample` is what a few images cost, if any is good."""

    def __init__(
        self, plan: Plan, augmentation: Augmentation, reduced: Reduced | None, steps: range, workers: int, pinned: bool
    ) -> None:
        self.sample = sample(plan.images, reduced or plan.images)
        source: Loads = plan.images if reduced is None else prepared(reduced, self.sample)
        self._steps = _Steps(plan, augmentation, source)
        self._loader = DataLoader(
            self._steps,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
            pin_memory=pinned,
            worker_init_fn=leave_signals_to_the_parent,
        )

    def __iter__(self) -> Iterator[Cropped]:
        return iter(self._loader)

    def trial(self, step: int) -> tuple[Cropped, float]:
        """A batch like that of the step, of a few images over and over, and the seconds to crop an image of it.

        There must be a sample.
        """
        assert self.sample is not None
        plan, size = self._steps.plan, self._steps.augmentation.size_at(step)
        uniforms = plan.uniforms(step)
        rows = np.arange(uniforms.shape[1]) % len(self.sample.images)
        widths, heights = np.array([self.sample.images[row].size for row in rows], float).T
        drawn = self._steps.augmentation.decide(uniforms, widths, heights)
        boxes, flips = drawn.boxes.reshape(2, len(rows), 4), drawn.flips.reshape(2, len(rows))
        few = min(len(rows), len(self.sample.images))
        began = time.perf_counter()
        crops = [
            [crop(image, boxes[view, row], bool(flips[view, row]), size) for view in range(2)]
            for row, image in enumerate(self.sample.images[:few])
        ]
        seconds = (time.perf_counter() - began) / few
        views = np.stack([crops[row % few][view] for view in range(2) for row in range(len(rows))])
        return Cropped(torch.from_numpy(views), torch.from_numpy(drawn.parameters), []), seconds


def batches(
    images: Images,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    device: torch.device,
    resident: Literal["auto", "always", "never"],
    rank: int = 0,
    world_size: int = 1,
    reduce: bool = False,
    cache: Cache | None = None,
) -> Read | Resident:
    """The batches of steps start … stop − 1 of process `rank`: its rows of global batches of `batch_size` images.

    With `resident` all images are kept on `device` where they have one size of at most 128 pixels and fit into 2 GiB
    ("auto"), or must be ("always": ValueError says why they cannot); otherwise `workers` processes read them ahead.
    Then `reduce` takes large ones at the size that crops need, from `cache` where they are; ValueError for one that
    cannot be used.
    """
    plan = Plan(images, batch_size, seed, rank, world_size)
    if resident != "never":
        try:
            return Resident(load(images, workers, device, show=rank == 0), plan, augmentation, range(start, stop))
        except NotResident as why:
            if resident == "always":
                raise ValueError(f"data.resident=always, but {why}") from None
    smaller = reduced(images, augmentation, cache) if reduce else None
    return Read(plan, augmentation, smaller, range(start, stop), workers, device.type == "cuda")
