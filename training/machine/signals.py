"""Signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """The number of the signal that asked to stop, 0 while none did; read between steps."""

    signal: int = 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM ask to stop after the step in progress; a second one does not wait for it.

    Under torchrun it does: torchrun passes on what the terminal has sent to all, and itself ends who takes too long.
    """
    stop = Stop()
    alone = "TORCHELASTIC_RUN_ID" not in os.environ

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.signal and alone:
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
