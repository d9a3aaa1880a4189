"""Which files of a folder are its images: the same for the server's commands, training and export."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"})
# What systems put beside people's own files: copies of attributes, thumbnails, what was deleted.
SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)


class ImageFiles:
    """The images in a tree, always in the same order: a folder's files by name, then its folders by name.

    Hidden files and folders (`._NAME`, `.hidden/`) and those of the system (`__MACOSX/`) are left out. Links are
    followed, and each file comes once, however many ways lead to it. `left_out` counts the files that end like images
    and did not come, as far as the iteration has gone. Only one folder's names are held in memory. `unreadable` is told
    of folders that cannot be read, which are passed over if it returns.
    """

    def __init__(self, root: Path, *, unreadable: Callable[[OSError], None] | None = None) -> None:
        self.root = root
        self.left_out = 0
        self._unreadable = unreadable
        self._real = os.path.realpath(root)
        self._seen: set[tuple[int, int]] = set()  # of what more than one way may lead to

    def __iter__(self) -> Iterator[Path]:
        """Paths that begin with `root`."""
        self.left_out = 0
        self._seen.clear()
        yield from self._in(self.root, linked=False, hidden=False)

    def _in(self, folder: Path, *, linked: bool, hidden: bool) -> Iterator[Path]:
        """The images in one folder and those below; of a `hidden` one they are counted only."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if self._unreadable is not None:
                self._unreadable(error)
            return
        for entry in entries:
            if os.path.splitext(entry.name)[1].lower() not in SUFFIXES or entry.is_dir():  # noqa: PTH122 - a million
                continue
            if hidden or entry.name.startswith(".") or self._came_before(entry, linked=linked):
                self.left_out += 1
            else:
                yield folder / entry.name
        for entry in entries:
            if not entry.is_dir() or (entry.is_symlink() and self._came_before(entry, linked=True)):
                continue
            skipped = hidden or entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS
            through = linked or entry.is_symlink()
            if not (through and self._within(folder / entry.name)):
                yield from self._in(folder / entry.name, linked=through, hidden=skipped)

    def _came_before(self, entry: os.DirEntry[str], *, linked: bool) -> bool:
        """Whether another way leads to it that counts: its own within the tree, or one that has been taken."""
        try:
            found = entry.stat()
        except OSError:
            return False  # a link to nothing: whoever reads it says so
        if entry.is_symlink() and self._within(entry.path):
            return True
        if not (linked or entry.is_symlink() or found.st_nlink > 1):
            return False
        key = found.st_dev, found.st_ino
        if key in self._seen:
            return True
        self._seen.add(key)
        return False

    def _within(self, path: str | Path) -> bool:
        """Whether its own place is in the tree, which leads to it without a link."""
        real = os.path.realpath(path)
        return real == self._real or real.startswith(self._real + os.sep)


def left_out(count: int) -> str:
    """A sentence about files that were left out; empty where there are none."""
    if not count:
        return ""
    return f"{count} files that end like images were left out: hidden, of the system, or linked to more than once"
