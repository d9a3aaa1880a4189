"""Long runs in pieces: programs as children that are told to stop when the time is up, and small results that stay.

`training.pretrain` answers SIGTERM with a checkpoint, so that the same command goes on with the very next step.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"
GRACE = 25.0  # seconds that a child has for its last step and its checkpoint
# What bends no step and may differ on resume. At a GPU's pace the defaults would write a checkpoint every few seconds.
PACE = ("train.log_every=100", "train.checkpoint_every=2000", "train.collapse_patience=0")


class OutOfTime(Exception):
    """The time is up, or a signal said so: what was running has stopped, and can go on."""


class Failed(Exception):
    """A child ended by itself, and not well."""


class Budget:
    """Minutes that may be spent from now on. As a context, Ctrl-C and SIGTERM end them early. Used by many threads."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes
        self._stop = threading.Event()
        self._before: dict[int, Any] = {}

    @property
    def left(self) -> float:
        """Seconds."""
        return 0.0 if self._stop.is_set() else max(0.0, self.end - time.monotonic())

    def run(self, module: str, *words: str, log: Path) -> None:
        """`python -m module words`, its output at the end of `log`. Raises OutOfTime, before or after it, and Failed.

        The child has a process group of its own: Ctrl-C reaches it through here alone, and once.
        """
        if not self.left:
            raise OutOfTime
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            stream.write(f"\n{module} {' '.join(words)}\n".encode())
            stream.flush()
            child = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), *_python_path())))},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            stopped = self._wait(child)
        if child.returncode == 0:
            return
        if stopped:
            raise OutOfTime
        raise Failed(f"{module} ended with {child.returncode}: {_last_line(log)}; see {log}")

    def _wait(self, child: subprocess.Popen[bytes]) -> bool:
        """Whether it had to be stopped."""
        try:
            while self.left:
                try:
                    child.wait(min(0.2, self.left))
                except subprocess.TimeoutExpired:
                    continue
                return False
            child.terminate()
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        return True

    def __enter__(self) -> Budget:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stop.set()

        self._before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def pretrain(budget: Budget, run: Path, words: Sequence[str]) -> None:
    """Make the run of `training.pretrain` with these words, or go on with it: changed words are then an error."""
    resume = ["--resume"] if (run / "checkpoint.pt").exists() else []
    budget.run("training.pretrain", *words, *PACE, f"--out={run}", *resume, log=_log(run))


def quality(budget: Budget, run: Path, spec: str, *words: str) -> dict[str, Any]:
    """What `benchmarks.study.quality` says of a run on the labelled images of `spec`."""
    budget.run("benchmarks.study.quality", str(run), f"--data={spec}", *words, log=_log(run))
    found: dict[str, Any] = json.loads((run / "quality.json").read_text())
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def append(path: Path, line: dict[str, Any]) -> None:
    """One more object, in one write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def commit() -> str | None:
    """Of the code that runs, with a plus where files differ from it; None where there is no repository."""
    try:
        name = _git("rev-parse", "--short", "HEAD").strip()
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def add_budget(parser: argparse.ArgumentParser, results: str) -> None:
    """--minutes, --runs, --results, --commit and --device."""
    parser.add_argument("--minutes", type=float, default=9.0, help="stops by itself after so many, resumable")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="where the runs are or will be")
    parser.add_argument("--results", type=Path, default=RESULTS / results, help="file of JSON lines")
    parser.add_argument("--commit", default=commit(), help="to note with each result, where git cannot say it")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to rehearse")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _python_path() -> list[str]:
    return os.environ.get("PYTHONPATH", "").split(os.pathsep)


def _log(run: Path) -> Path:
    return run.parent / f"{run.name}.log"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
