"""How far one long request is, on stderr."""

from __future__ import annotations

import sys
import time


class Share:
    """Shows the share that is done: on a terminal in a line that renews itself, else in a line every 5 seconds."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, share: float) -> None:
        """So much is done, 0 to 1."""
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._live else 5.0):
            self._shown = now
            text = f"{100 * share:.0f} % compared"
            print(
                f"\r{text}\x1b[K" if self._live else text, end="" if self._live else "\n", file=sys.stderr, flush=True
            )

    def end(self, sentence: str) -> None:
        """Leave the renewed line and print a last one."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr)
        print(sentence, file=sys.stderr, flush=True)
