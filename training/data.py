"""Images by specification (`folder:PATH`, `cifar10:PATH`), and the stream of augmented batches a run consumes.

The stream is a function of (seed, step): entered at any step, with any number of workers, it gives the same batches.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.datasets import CIFAR10

from amcl_serve.errors import AmclError
from amcl_serve.images import fit, upright
from training.augment import PARAMETERS, Augmentation

Labels = npt.NDArray[np.str_]  # names of classes
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
TRAIN_SPLITS, TEST_SPLITS = ("train",), ("test", "val", "valid", "validation")


class Images(Protocol):
    """A numbered set of images, labelled or not."""

    labels: Labels | None

    def __len__(self) -> int: ...

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB; OSError or AmclError when it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """What to call image `index` in a message."""
        ...

    def fingerprint(self) -> str:
        """A hash of the set's names, so that a resumed run knows its data again."""
        ...


def list_images(folder: Path) -> list[Path]:
    """Every file under `folder` with an image's suffix, sorted by path."""
    found = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


class FolderImages:
    """Any tree of image files; labels are the names of the folders just below the root, None unless all have one."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder")
        if not os.access(root, os.R_OK | os.X_OK):
            raise ValueError(f"the folder {root} cannot be read")
        self.root, self.paths = root, list_images(root)
        if not self.paths:
            raise ValueError(f"no images under {root}; wanted files ending in {', '.join(sorted(SUFFIXES))}")
        parts = [path.relative_to(root).parts for path in self.paths]
        names = {part[0] for part in parts if len(part) > 1}
        labelled = len(names) > 1 and all(len(part) > 1 for part in parts)
        self.labels: Labels | None = np.array([part[0] for part in parts]) if labelled else None

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB, decoded as the server decodes it."""
        return upright(self.paths[index].read_bytes())

    def name(self, index: int) -> str:
        """Its path within the folder."""
        return self.paths[index].relative_to(self.root).as_posix()

    def fingerprint(self) -> str:
        """sha256 of the relative paths."""
        return hashlib.sha256("\n".join(map(self.name, range(len(self)))).encode()).hexdigest()


class Cifar10Images:
    """torchvision's CIFAR-10, downloaded into its folder where the network allows."""

    def __init__(self, root: Path, *, train: bool) -> None:
        try:
            data = CIFAR10(root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"no CIFAR-10 under {root} and it cannot be downloaded: {error}") from None
        self.pixels: npt.NDArray[np.uint8] = data.data
        self.labels: Labels | None = np.array([data.classes[target] for target in data.targets])

    def __len__(self) -> int:
        return len(self.pixels)

    def load(self, index: int) -> Image.Image:
        """Image `index`, 32×32."""
        return Image.fromarray(self.pixels[index])

    def name(self, index: int) -> str:
        """Its number."""
        return f"image {index}"

    def fingerprint(self) -> str:
        """sha256 of the pixels."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()


def open_images(spec: str) -> Images:
    """The unlabelled images that `spec` names: `folder:PATH` or `cifar10:PATH` (its training split)."""
    kind, path = _split(spec)
    return FolderImages(path) if kind == "folder" else Cifar10Images(path, train=True)


@dataclass(frozen=True)
class Subset:
    """Some of the images of a set, with their labels."""

    images: Images
    indices: npt.NDArray[np.int64]

    @property
    def labels(self) -> Labels:
        """One label for each index."""
        assert self.images.labels is not None
        return self.images.labels[self.indices]


@dataclass(frozen=True)
class Labelled:
    """What kNN needs: queries and the bank that answers them."""

    bank: Subset
    queries: Subset


def open_labelled(spec: str, *, bank_limit: int) -> Labelled:
    """The labelled images that `spec` names, with at most `bank_limit` (evenly spaced) images in the bank.

    CIFAR-10 and a folder with train/ and test/ (or val/) have a bank and queries; in any other folder every other image
    is the bank and the rest query it.
    """
    kind, path = _split(spec)
    if kind == "cifar10":
        return Labelled(_spaced(Cifar10Images(path, train=True), bank_limit), _whole(Cifar10Images(path, train=False)))
    bank_path, query_path = _split_folder(path, TRAIN_SPLITS), _split_folder(path, TEST_SPLITS)
    if bank_path is None or query_path is None:
        images = _labelled_folder(path)
        order = np.arange(len(images))
        return Labelled(Subset(images, order[::2]), Subset(images, order[1::2]))
    bank, queries = _labelled_folder(bank_path), _labelled_folder(query_path)
    if set(_spaced(bank, len(bank)).labels) != set(_whole(queries).labels):
        raise ValueError(f"{bank_path.name}/ and {query_path.name}/ of {path} hold different classes")
    return Labelled(_spaced(bank, bank_limit), _whole(queries))


def _whole(images: Images) -> Subset:
    return Subset(images, np.arange(len(images)))


def _spaced(images: Images, limit: int) -> Subset:
    return Subset(images, np.unique(np.linspace(0, len(images) - 1, min(limit, len(images))).round().astype(np.int64)))


def _split(spec: str) -> tuple[str, Path]:
    kind, sign, path = spec.partition(":")
    if not sign or kind not in ("folder", "cifar10") or not path:
        raise ValueError(f"{spec!r} is no data specification; write folder:PATH or cifar10:PATH")
    return kind, Path(path).expanduser()


def _split_folder(path: Path, names: Sequence[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _labelled_folder(path: Path) -> FolderImages:
    images = FolderImages(path)
    if images.labels is None:
        raise ValueError(f"the images of {path} are not labelled: put each class into a folder of its own")
    return images


Item = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], int]


class _Views(Dataset[Item]):
    """(epoch, index) -> crops uint8 [2, S, S, 3], photometric parameters [2, 8], index if broken else −1."""

    def __init__(self, images: Images, augmentation: Augmentation, seed: int) -> None:
        self.images, self.augmentation, self.seed = images, augmentation, seed

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        u = self.augmentation.draw(self.seed, epoch, index)
        broken = -1
        try:
            image = self.images.load(index)
        except (OSError, AmclError):
            # A flat image keeps the batch's size and tells nothing; the run stops above 1 % of such.
            image, broken = Image.new("RGB", (self.augmentation.size,) * 2, (127, 127, 127)), index
        crops = np.stack([self.augmentation.crop(image, row) for row in u])
        return crops, np.stack([self.augmentation.parameters(row) for row in u]), broken


class _Order(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from step `start` to step `stop`; each epoch is a permutation by (seed, epoch)."""

    def __init__(self, count: int, batch_size: int, seed: int, start: int, stop: int) -> None:
        self.count, self.batch_size, self.seed, self.start, self.stop = count, batch_size, seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.count // self.batch_size
        drawn, order = -1, np.empty(0, np.int64)
        for step in range(self.start, self.stop):
            epoch, position = divmod(step, per_epoch)
            if epoch != drawn:
                bits = np.random.Philox(key=self.seed, counter=[0, 1, 0, epoch])  # 1: apart from augmentation
                drawn, order = epoch, np.random.Generator(bits).permutation(self.count)
            rows = order[position * self.batch_size : (position + 1) * self.batch_size]
            yield [(epoch, int(index)) for index in rows]


def leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C and a service manager's SIGTERM reach the whole process group; the parent ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class Batch:
    """Crops uint8 [N = 2B, S, S, 3] (first views, then second), parameters [N, 8], and the numbers of broken images."""

    pixels: Tensor
    parameters: Tensor
    broken: list[int]

    def pin_memory(self) -> Batch:
        """Called by the loader where there is a GPU: page-locked tensors are copied while it computes."""
        return Batch(self.pixels.pin_memory(), self.parameters.pin_memory(), self.broken)


def _collate(items: list[Item]) -> Batch:
    crops, parameters, broken = zip(*items, strict=True)
    pixels = torch.from_numpy(np.stack(crops, axis=1).reshape(-1, *crops[0].shape[1:]))
    return Batch(
        pixels, torch.from_numpy(np.stack(parameters, axis=1).reshape(-1, PARAMETERS)), [i for i in broken if i >= 0]
    )


def batches(
    images: Images, augmentation: Augmentation, *, batch_size: int, seed: int, start: int, stop: int, workers: int
) -> DataLoader[Any]:
    """The batches of steps start … stop − 1, read ahead by `workers` processes."""
    assert len(images) >= batch_size
    return DataLoader(
        _Views(images, augmentation, seed),
        batch_sampler=_Order(len(images), batch_size, seed, start, stop),
        num_workers=workers,
        collate_fn=_collate,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=leave_signals_to_the_parent,
    )


class Plain(Dataset[tuple[Tensor, bool]]):
    """The images as the server sees them, uint8 [S, S, 3], with whether each could be read; a broken one is black."""

    def __init__(self, images: Images, indices: npt.NDArray[np.int64], size: int) -> None:
        self.images, self.indices, self.size = images, indices, size

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, bool]:
        try:
            image = fit(self.images.load(int(self.indices[position])), self.size)
        except (OSError, AmclError):
            return torch.zeros(self.size, self.size, 3, dtype=torch.uint8), False
        return torch.from_numpy(np.array(image)), True
