"""Large images wait for each other, so that what all threads and all children decode at a time has one common bound."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SMALL = 4_000_000  # pixels of an image that waits for none: it takes 16 MB at most
MOST = 64_000_000  # pixels of the larger ones at a time, unless one alone has more

Take = Callable[[int], None]  # takes so many pixels, once there is room for them


class Turns:
    """The images over `small` pixels that are being decoded have `most` together, or are one."""

    def __init__(self, most: int = MOST, small: int = SMALL) -> None:
        self._most, self._small = most, small
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[Take]:
        """Of one image: a function that takes so many pixels, once there is room for them, until the block ends."""
        held = 0

        def take(pixels: int) -> None:
            nonlocal held
            if pixels <= self._small or held:
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._most)
                self._held += pixels
                held = pixels

        try:
            yield take
        finally:
            if held:
                with self._changed:
                    self._held -= held
                    self._changed.notify_all()

    def forget(self) -> None:
        """After a fork: the images are the parent's, and its lock may be held by a thread that is no more."""
        self._held, self._changed = 0, threading.Condition()


TURNS = Turns()  # of this process and its children that decode
os.register_at_fork(after_in_child=TURNS.forget)
