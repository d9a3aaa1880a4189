"""metrics.jsonl, the journal of a run: one JSON object a line, a step and its numbers. Written and read here alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines in the journal of the run in `folder`, in order, without those that a kill cut short; [] if none is."""
    try:
        lines = (folder / FILE).read_text().splitlines()
    except OSError:
        return []
    return [row for row in map(_parsed, lines) if row]


def _parsed(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


class Journal:
    """Writes the journal of the run in `folder`; entered at `step`, it forgets what was written of later steps.

    A run that begins, at step 0, forgets all: a line of step 0 is of how one began.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / FILE
        if self.path.exists():
            kept = [row for row in read(folder) if step and row.get("step", math.inf) <= step]
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
            temporary.replace(self.path)
        self._file = self.path.open("a", buffering=1)

    def write(self, step: int, **numbers: Any) -> None:
        """One line, on its way to the file at once."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")

    def close(self) -> None:
        """No more lines."""
        self._file.close()
