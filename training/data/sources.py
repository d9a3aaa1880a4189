"""Sets of images: a tree of files, or torchvision's data sets of small images in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, STL10

from amcl_serve.model.image_files import SUFFIXES, ImageFiles, left_out
from amcl_serve.model.pixels import upright

Labels = npt.NDArray[np.str_]  # names of classes
Numbers = npt.NDArray[np.int64]


class Unlabelled(ValueError):
    """There are images, but no labels that could tell which of them belong together."""


class Images(Protocol):
    """A numbered set of images, labelled or not; `note` says what of a folder is not in it, where there is any."""

    labels: Labels | None
    note: str

    def __len__(self) -> int: ...

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB; OSError or AmclError when it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """What to call image `index` in a message."""
        ...

    def fingerprint(self) -> str:
        """A hash of the set's names or pixels, so that a resumed run knows its data again."""
        ...


@runtime_checkable
class Ordered(Protocol):
    """A set that has to be read in an order of its own making; any other is permuted."""

    def order(self, generator: np.random.Generator) -> Numbers:
        """Every number once, as shuffled as the set allows, by the generator alone."""
        ...


def list_images(folder: Path) -> list[Path]:
    """The images under `folder`, as `amcl_serve embed` and `index` find them, sorted by path."""
    return sorted(ImageFiles(folder))


def printable(name: str) -> str:
    """A file's name that may not be UTF-8, its odd bytes written as escapes."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def stamp(path: Path, status: os.stat_result, *more: int) -> bytes:
    """What changes when the file does. The inode's time as well: copies may bring an old one of the content."""
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, *more)
    return os.fsencode(path) + b"\0" + ",".join(map(str, numbers)).encode()


class FolderImages:
    """Any tree of image files; labels are the names of the folders just below the root, None unless all have one."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder")
        if not os.access(root, os.R_OK | os.X_OK):
            raise ValueError(f"the folder {root} cannot be read")
        self.root = root
        # Text, not Path objects: a million of those take half a gigabyte, in each worker too.
        files = ImageFiles(root)
        self.names = [path.relative_to(root).as_posix() for path in sorted(files)]
        self.note = left_out(files.left_out)
        if not self.names:
            wanted = f"no images under {root}; wanted files ending in {', '.join(sorted(SUFFIXES))}"
            raise ValueError(f"{wanted}; {self.note}" if self.note else wanted)
        firsts = [name.split("/", 1)[0] if "/" in name else None for name in self.names]
        labelled = None not in firsts and len(set(firsts)) > 1
        self.labels: Labels | None = np.array([printable(str(first)) for first in firsts]) if labelled else None

    def __len__(self) -> int:
        return len(self.names)

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB, decoded as the server decodes it."""
        return upright(self.encoded(index))

    def encoded(self, index: int) -> bytes:
        """The bytes of its file."""
        return (self.root / self.names[index]).read_bytes()

    def stamp(self, index: int) -> bytes:
        """Path, size and times of its file."""
        path = (self.root / self.names[index]).absolute()
        return stamp(path, path.stat())

    def name(self, index: int) -> str:
        """Its path within the folder."""
        return printable(self.names[index])

    def fingerprint(self) -> str:
        """sha256 of the relative paths and of the files' sizes."""
        sizes = (self._size(name) for name in self.names)
        lines = "\n".join(f"{name}\0{size}" for name, size in zip(self.names, sizes, strict=True))
        return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()

    def _size(self, name: str) -> int:
        try:
            return (self.root / name).stat().st_size
        except OSError:  # a link to nothing, which is one of the run's broken images
            return -1


class ArrayImages:
    """Images of one size in memory: pixels uint8 [M, H, W, 3], labels [M] or None."""

    note = ""

    def __init__(self, pixels: npt.NDArray[np.uint8], labels: Labels | None) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def load(self, index: int) -> Image.Image:
        """Image `index`."""
        return Image.fromarray(self.pixels[index])

    def name(self, index: int) -> str:
        """Its number."""
        return f"image {index}"

    def fingerprint(self) -> str:
        """sha256 of the pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels).data).hexdigest()


def cifar(kind: str, root: Path, *, train: bool) -> ArrayImages:
    """`cifar10` or `cifar100` in `root`, downloaded where the network allows; ValueError otherwise."""
    make: Callable[..., Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100}[kind]
    data = _fetched(kind.upper().replace("CIFAR", "CIFAR-"), root, lambda: make(root, train=train, download=True))
    return ArrayImages(data.data, _named(data.targets, data.classes))


def stl10(root: Path, split: str) -> ArrayImages:
    """STL-10's split `train+unlabeled` (105,000 images, no labels kept), `train` (5,000) or `test` (8,000)."""
    data = _fetched("STL-10", root, lambda: STL10(root, split=split, download=True))
    pixels = np.ascontiguousarray(data.data.transpose(0, 2, 3, 1))
    return ArrayImages(pixels, _named(data.labels, data.classes) if split in ("train", "test") else None)


def _fetched(name: str, root: Path, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"no {name} under {root} and it cannot be downloaded: {error}") from None


def _named(targets: Sequence[int], classes: Sequence[str]) -> Labels:
    return np.array(classes)[np.asarray(targets, np.int64)]
