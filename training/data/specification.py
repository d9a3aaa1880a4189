"""What a specification such as `folder:PATH` names: images to learn from, or labelled ones to evaluate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data.reading import Loads
from training.data.sources import FolderImages, Images, Labels, Numbers, Unlabelled, cifar, stl10
from training.data.tar import TarImages, find_shards

KINDS = ("folder", "cifar10", "cifar100", "stl10", "tar")
TRAIN_SPLITS, TEST_SPLITS = ("train",), ("test", "val", "valid", "validation")


def open_images(spec: str) -> Images:
    """The images to learn from that `spec` names; labels are not asked for. ValueError with a sentence.

    `folder:PATH` any tree of images; `cifar10:PATH`, `cifar100:PATH` their training splits; `stl10:PATH` its unlabelled
    and its training split; `tar:PATTERN` the images of shards (`training.data.tar`).
    """
    kind, path = _split(spec)
    if kind == "folder":
        return FolderImages(path)
    if kind == "tar":
        return TarImages(find_shards(str(path)))
    return stl10(path, "train+unlabeled") if kind == "stl10" else cifar(kind, path, train=True)


@dataclass(frozen=True)
class Subset:
    """Some of the images of a set, with their labels; read through `source` where there is one, such as a cache."""

    images: Images
    indices: Numbers
    source: Loads | None = None

    def of(self, indices: Numbers) -> Subset:
        """Others of the same set."""
        return replace(self, indices=indices)

    def spaced(self, limit: int) -> Subset:
        """At most so many of them, evenly spaced."""
        return self.of(_evenly(self.indices, limit))

    @property
    def reader(self) -> Loads:
        """What loads them, by their numbers in `images`."""
        return self.source or self.images

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

    CIFAR, STL-10 and a folder with train/ and test/ (or val/) have a bank and queries; in any other folder, and in tar
    shards, every other image is the bank and the rest, as many at most, query it. Unlabelled where there are no labels
    to classify by, ValueError for what is no such specification or holds no images.
    """
    kind, path = _split(spec)
    if kind == "tar":
        return _halves(TarImages(find_shards(str(path)), labelled=True), bank_limit)
    if kind == "folder":
        return _labelled_folders(path, bank_limit)
    if kind == "stl10":
        return Labelled(_spaced(stl10(path, "train"), bank_limit), _whole(stl10(path, "test")))
    return Labelled(_spaced(cifar(kind, path, train=True), bank_limit), _whole(cifar(kind, path, train=False)))


def open_queries(spec: str) -> Subset:
    """What `open_labelled` would query with, labelled or not: test/ (or val/) beside train/, in other cases all images.

    Of a folder or of tar shards; ValueError as in `open_images`.
    """
    kind, path = _split(spec)
    assert kind in ("folder", "tar")
    apart = _split_folder(path, TEST_SPLITS) if kind == "folder" and _split_folder(path, TRAIN_SPLITS) else None
    return _whole(open_images(f"{kind}:{apart or path}"))


def _labelled_folders(path: Path, bank_limit: int) -> Labelled:
    bank_path, query_path = _split_folder(path, TRAIN_SPLITS), _split_folder(path, TEST_SPLITS)
    if bank_path is None or query_path is None:
        return _halves(_labelled_folder(path), bank_limit)
    bank, queries = _labelled_folder(bank_path), _labelled_folder(query_path)
    if set(_whole(bank).labels) != set(_whole(queries).labels):
        raise ValueError(
            f"{bank_path.name}/ and {query_path.name}/ of {path} hold different classes; if their folders are no "
            f"classes, give folder:{query_path}"
        )
    return Labelled(_spaced(bank, bank_limit), _whole(queries))


def _whole(images: Images) -> Subset:
    return Subset(images, np.arange(len(images)))


def _halves(images: Images, bank_limit: int) -> Labelled:
    order = np.arange(len(images))
    bank, queries = (Subset(images, _evenly(half, bank_limit)) for half in (order[::2], order[1::2]))
    if not set(bank.labels) & set(queries.labels):
        raise Unlabelled(
            f"every other of the {len(images)} labelled images is the bank, and the rest query it, but no class has "
            "images in both: each class needs two images or more"
        )
    return Labelled(bank, queries)


def _spaced(images: Images, limit: int) -> Subset:
    return Subset(images, _evenly(np.arange(len(images)), limit))


def _evenly(indices: Numbers, limit: int) -> Numbers:
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(limit, len(indices))).round().astype(np.int64))]


def _split(spec: str) -> tuple[str, Path]:
    kind, sign, path = spec.partition(":")
    if not sign or kind not in KINDS or not path:
        known = ", ".join(f"{kind}:PATH" for kind in KINDS[:-1])
        raise ValueError(f"{spec!r} is no data specification; write {known} or {KINDS[-1]}:PATH")
    return kind, Path(path).expanduser()


def _split_folder(path: Path, names: Sequence[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _labelled_folder(path: Path) -> FolderImages:
    images = FolderImages(path)
    if images.labels is None:
        raise Unlabelled(f"the images of {path} are not labelled: put each class into a folder of its own")
    return images
