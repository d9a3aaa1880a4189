"""Which files a command is about: those named, and the images in the trees of the folders named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from amcl_serve.errors import StartupError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"})


def walk(folder: Path) -> Iterator[Path]:
    """The images in the tree, always in the same order: a folder's files by name, then its folders by name.

    Links to folders are not followed. Only one folder's names are held in memory. Raises StartupError where `folder` is
    none, or holds no images, or a folder in it cannot be read.
    """
    if not folder.is_dir():
        raise StartupError(f"{folder} is no folder")
    found = False
    for place, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES:
                found = True
                yield Path(place, name)
    if not found:
        raise StartupError(f"{folder} holds no images: no file that ends in {', '.join(sorted(SUFFIXES))}")


def expand(paths: Iterable[Path]) -> Iterator[Path]:
    """Each path itself, whatever it ends in, but for a folder the images in its tree. Raises as `walk`."""
    for path in paths:
        if path.is_dir():
            yield from walk(path)
        else:
            yield path


def _unreadable(error: OSError) -> None:
    raise StartupError(f"the folder {error.filename} cannot be read: {error.strerror}") from None
