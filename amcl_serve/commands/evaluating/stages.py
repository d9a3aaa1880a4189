"""How far an evaluation is, on stderr, and the place where Ctrl-C ends it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Stages:
    """`Progress` that shows each stage: on a terminal in a line that renews itself, else in one every 5 seconds.

    `check` raises KeyboardInterrupt once that was asked for.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._live = sys.stderr.isatty()
        self._stage = ""
        self._begun = self._shown = time.monotonic()
        self._done = 0  # when the stage began

    def __call__(self, stage: str, done: int, total: int) -> None:
        """As `Progress`."""
        self._check()
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._begun, self._done = stage, now, done
        elif now - self._shown < (0.2 if self._live else 5.0):
            return
        self._shown = now
        text = f"{stage}: {done}/{total}" if total > 1 else stage
        since = done - self._done
        if since > 0 and now - self._begun > 1 and total > 1:
            rate = since / (now - self._begun)
            text += f", {rate:.1f}/s, {(total - done) / rate:.0f} s left"
        end = "" if self._live else "\n"
        print(f"\r{text}\x1b[K" if self._live else text, end=end, file=sys.stderr, flush=True)

    def end(self, sentence: str = "") -> None:
        """Leave the renewed line and print a last one."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr)
        if sentence:
            print(sentence, file=sys.stderr, flush=True)
