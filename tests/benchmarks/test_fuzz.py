from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.processes import ROOT
from tests.seeds import seeds


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.fuzz", "--workers", "1", "--keep", str(folder), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_damaged_files_of_every_kind_end_no_process(tmp_path: Path) -> None:
    done = run(tmp_path, "--files", "300", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("jpeg", "png", "webp"):
        assert f"{kind:<8}fast" in done.stdout
    for kind in ("gif", "tiff", "bmp", "avif", "heif", "jpeg"):
        assert f"{kind:<8}child" in done.stdout
    assert "workers lost: 0" in done.stdout
    assert done.stdout.startswith("300 files")


def test_a_file_is_the_seeds_and_its_numbers_doing() -> None:
    assert fuzz.file(3, 14) == fuzz.file(3, 14)
    assert len({fuzz.file(3, number)[1] for number in range(50)}) > 45
    assert {name.partition(" ")[0] for name in seeds()} >= {"jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heif"}


def test_a_worker_that_dies_is_told_and_another_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = tmp_path / "python"
    deadly.write_text("#!/bin/sh\nkill -SEGV $$\n")
    deadly.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deadly))
    assert fuzz.watch(0, 5, 7).deaths == [(5, -11), (6, -11)]


def test_reports_of_workers_add_up() -> None:
    tally = fuzz.Tally()
    assert fuzz.add(tally, '[200, {"[\\"fast\\", \\"png\\", \\"ok\\"]": 3}, 1]') == 200
    assert tally.outcomes["fast", "png", "ok"] == 3
    assert tally.children == 1
