"""The children of this process: started when first needed, shared by its threads, replaced when they die."""

from __future__ import annotations

import atexit
import os
import threading

from PIL import Image

from amcl_serve.errors import AmclError, UndecodableImage
from amcl_serve.machine import cores
from amcl_serve.model.children.process import Child, Gone, TooSlow
from amcl_serve.model.formats.reading import Wanted
from amcl_serve.model.formats.turns import TURNS

_MOST_IMAGES = 10_000  # of one child, whose libraries may lose a little memory with each


class Pool:
    """At most `most` children. A thread takes an idle one or starts one, so there are never more than threads that ask.

    `lost` counts the children that an image has cost.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[tuple[Child, int]] = []  # with the images it has read
        self._all: set[Child] = set()
        self.lost = 0

    def read(self, data: bytes, wanted: Wanted) -> Image.Image:
        """The image in `data` as `wanted`, decoded by a child; raises the errors of an image.

        AmclError itself where no child can be started.
        """
        with self._free:
            child, images = self._take()
            whole = False  # whether the child is ready for another
            try:
                with TURNS.one() as take:
                    found = child.read(data, wanted, take)
                whole = True
            except AmclError:
                whole = True
                raise
            except (Gone, TooSlow) as fault:
                with self._lock:
                    self.lost += 1
                raise UndecodableImage(_REASONS[type(fault)]) from None
            finally:
                self._give(child, images + 1, whole)
        return found

    def pids(self) -> list[int]:
        """The numbers of the children's processes."""
        with self._lock:
            return sorted(child.pid for child in self._all)

    def close(self) -> None:
        """End all children; what they are at is lost."""
        with self._lock:
            children, self._all, self._idle = self._all, set(), []
        for child in children:
            child.end()

    def forget(self) -> None:
        """After a fork: the children are the parent's, and its locks may be held by threads that are no more."""
        for child in self._all:
            child.forget()
        self._free, self._lock = threading.Semaphore(self._most), threading.Lock()
        self._all, self._idle, self.lost = set(), [], 0

    def _take(self) -> tuple[Child, int]:
        while True:
            with self._lock:
                if not self._idle:
                    break
                child, images = self._idle.pop()
            if child.alive and images < _MOST_IMAGES:
                return child, images
            self._drop(child)
        child = Child()
        with self._lock:
            self._all.add(child)
        return child, 0

    def _give(self, child: Child, images: int, whole: bool) -> None:
        if not whole:
            self._drop(child)
            return
        with self._lock:
            self._idle.append((child, images))

    def _drop(self, child: Child) -> None:
        with self._lock:
            self._all.discard(child)
        child.end()


_REASONS: dict[type[Exception], str] = {
    Gone: "the image cannot be decoded: it ended the process that tried",
    TooSlow: "the image cannot be decoded in the time that an image of as many pixels may take",
}


_SHARED = Pool(cores())
atexit.register(_SHARED.close)
os.register_at_fork(after_in_child=_SHARED.forget)


def shared() -> Pool:
    """The pool of this process, which has no child until it reads; a forked process begins with none of its own."""
    return _SHARED
