"""Generate the blocking client from the one that is awaited: `make client`.

    python -m scripts.blocking_client [--out amcl_serve/client/_blocking]

What differs is words alone: unasync takes `async` and `await` away and renames what has two names.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import unasync

CLIENT = Path(__file__).parents[1] / "amcl_serve" / "client"
SOURCE, TWIN = "_async", "_blocking"
NAMES = {
    SOURCE: TWIN,
    "AsyncAnalysis": "Analysis",
    "AsyncClient": "Client",
    "AsyncCollections": "Collections",
    "AsyncEvaluations": "Evaluations",
    "AsyncImages": "Images",
    "AsyncPoints": "Points",
    "AsyncSender": "Sender",
    "AsyncBaseTransport": "BaseTransport",
    "aclose": "close",
    "aiter_lines": "iter_lines",
    "aread": "read",
    "async_call": "call",
    "async_sleep": "sleep",
    "asynccontextmanager": "contextmanager",
}
DOC = '"""The blocking client, generated from `_async` by `make client`: change that instead."""\n'


def main(out: Path = CLIENT / TWIN) -> None:
    """Write every file of the twin into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    rule = unasync.Rule(f"/{SOURCE}/", f"/{TWIN}/", additional_replacements=NAMES)
    work = out / ".work"
    shutil.copytree(CLIENT / SOURCE, work / SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        unasync.unasync_files([str(path) for path in (work / SOURCE).glob("*.py")], [rule])
        for path in sorted((work / TWIN).glob("*.py")):
            (out / path.name).write_text(DOC if path.name == "__init__.py" else path.read_text())
    finally:
        shutil.rmtree(work)
    for command in (["check", "--fix", "--select", "I"], ["format"]):  # words of other lengths are laid out anew
        subprocess.run([sys.executable, "-m", "ruff", *command, "-q", str(out)], check=True)  # noqa: S603 - ours


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generate the blocking client.")
    parser.add_argument("--out", type=Path, default=CLIENT / TWIN)
    main(parser.parse_args().out)
