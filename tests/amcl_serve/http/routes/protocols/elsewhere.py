"""Runs programs in `.venv-clients`, which holds the clients that bring much with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.processes import ROOT

PYTHON = ROOT / ".venv-clients" / "bin" / "python"


def run(code: str, folder: Path) -> str:
    """What `code` prints, run in `folder`, which is its home, too; without the network, but for this machine."""
    if not PYTHON.exists() and not os.environ.get("CI"):
        pytest.skip("there is no .venv-clients: `make test-slow` makes it, and so does `make .venv-clients/.stamp`")
    assert PYTHON.exists(), "there is no .venv-clients; `make test-slow` makes it"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(PYTHON), "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
