"""Progress on stderr: what the commands that go through many files share."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

BROKEN = "skipped as broken"  # the outcome whose files are named


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or break a line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Progress:
    """Counts outcomes and shows them on stderr: a line that renews itself on a terminal, else one every 5 seconds."""

    def __init__(self, total: int, outcomes: Sequence[str], *, before: int = 0) -> None:
        """`outcomes` are named in the summary, in this order; `before` files were done by an earlier run."""
        self.counts = Counter(dict.fromkeys(outcomes, 0))
        self._total = total
        self._before = before
        self._started = time.monotonic()
        self._shown = self._started
        self._live = sys.stderr.isatty()

    def __call__(self, path: str, outcome: str, reason: str = "") -> None:
        """Count one file; a skipped one is named with its reason."""
        self.counts[outcome] += 1
        if outcome == BROKEN:
            self._line(f"skipped {printable(path)}: {printable(reason)}")
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._live else 5.0):
            self._shown = now
            rate = self.counts.total() / (now - self._started)
            text = (
                f"{self.done}/{self._total} images, {rate:.1f} images/s, {(self._total - self.done) / rate:.0f} s left"
            )
            print(
                f"\r{text}\x1b[K" if self._live else text, end="" if self._live else "\n", file=sys.stderr, flush=True
            )

    @property
    def done(self) -> int:
        """Files whose outcome is certain."""
        return self._before + self.counts.total()

    def summary(self) -> str:
        """All counts in one clause."""
        counts = [f"{count} {outcome}" for outcome, count in self.counts.items()]
        counts += [f"{self._before} done before"] if self._before else []
        return f"{', '.join(counts)}, of {self._total} images in {time.monotonic() - self._started:.1f} s"

    def note(self, sentence: str) -> None:
        """Say something in between."""
        self._line(sentence)

    def end(self, sentence: str = "") -> None:
        """Leave the renewed line and print a last one."""
        self._line(sentence)

    def _line(self, text: str) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr)
        if text:
            print(text, file=sys.stderr, flush=True)
