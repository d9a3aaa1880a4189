"""Ctrl-C where it does no harm."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """In the block, Ctrl-C is held back until the function given is called, which raises KeyboardInterrupt then.

    Raised wherever the program is, it can come between the taking of a lock that threads share and the block that
    would give it back: they, and with them the command, would wait for ever. A second Ctrl-C is raised at once. For
    the main thread.
    """
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
