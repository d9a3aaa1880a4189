"""What a report costs beyond embedding, for so many images of a folder: seconds, and memory at its peak.

    python -m benchmarks.evaluation --data FOLDER [--images 10000]

`amcl-serve evaluate --folder FOLDER --limit N` by the default model, in a process of its own. Views are made and
embedded for the report, and count as beyond embedding. With `--labels` the folder's own folders are the classes.

- `embedding`: seconds of reading and embedding each image once. `beyond`: all others.
- `peak`: the process's memory, GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.retrieval.__main__ import show

_ONCE = ("reading", "embedding")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--labels", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "report"
        words = ["evaluate", "--folder", str(options.data), "--limit", str(options.images), "--out", str(out)]
        words += ["--labels"] if options.labels else []
        subprocess.run([sys.executable, "-m", "amcl_serve.cli", *words], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((out / "report.json").read_bytes())
    (cost,) = (section for section in found["sections"] if section["name"] == "cost")
    seconds = dict(cost["tables"][0]["rows"])
    once = sum(seconds[stage] for stage in _ONCE)
    show("images", found["provenance"]["images read"])
    show("embedding", once, "s")
    show("beyond", seconds["all"] - once, "s")
    show("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9, "GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
