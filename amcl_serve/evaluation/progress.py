"""How a long evaluation says how far it is, and hears that nobody wants it any more."""

from __future__ import annotations

from typing import Protocol


class Cancelled(Exception):
    """Raised by `Progress` where the evaluation is to end."""


class Progress(Protocol):
    """Called often, from the thread that works; raises Cancelled to end the work there."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of `stage`, such as "embedding"."""
