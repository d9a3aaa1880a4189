"""Which files a command is about: those named, and the images in the trees of the folders named."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from amcl_serve.errors import StartupError
from amcl_serve.model.image_files import SUFFIXES, ImageFiles, left_out

__all__ = ["SUFFIXES", "expand", "walk"]


def walk(folder: Path) -> Iterator[Path]:
    """The images in the tree, as `ImageFiles` has them; how many it left out is said on stderr at the end.

    Raises StartupError where `folder` is none, or holds no images, or a folder in it cannot be read.
    """
    if not folder.is_dir():
        raise StartupError(f"{folder} is no folder")
    found, files = False, ImageFiles(folder, unreadable=_unreadable)
    for path in files:
        found = True
        yield path
    note = left_out(files.left_out)
    if not found:
        wanted = f"{folder} holds no images: no file that ends in {', '.join(sorted(SUFFIXES))}"
        raise StartupError(f"{wanted}; {note}" if note else wanted)
    if note:
        print(f"{folder}: {note}", file=sys.stderr)


def expand(paths: Iterable[Path]) -> Iterator[Path]:
    """Each path itself, whatever it ends in, but for a folder the images in its tree. Raises as `walk`."""
    for path in paths:
        if path.is_dir():
            yield from walk(path)
        else:
            yield path


def _unreadable(error: OSError) -> None:
    raise StartupError(f"the folder {error.filename} cannot be read: {error.strerror}") from None
