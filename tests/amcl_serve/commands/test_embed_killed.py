from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.cli import main
from tests.amcl_serve.commands.embedding import BATCH, LOGGING, check, command, make_folder, recorded, results


def killed_runs(bundle: Path, folder: Path, tmp_path: Path, total: int, kills: int, *, early: int = 0) -> Path:
    """Kill the command at random moments, resume until it ends, and hold it to an undisturbed run.

    The first `early` kills come within a second and a half, which may be before the run has begun.
    """
    quiet = tmp_path / "quiet" / "v.npy"
    quiet.parent.mkdir()
    assert main(command(bundle, folder, quiet)) == 1
    out = tmp_path / "killed" / "v.npy"
    out.parent.mkdir()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    logs = []
    done = [0]
    for kill in range(kills):
        logs.append(tmp_path / f"log{kill}")
        last = str(total - done[-1])
        argv = [sys.executable, "-c", LOGGING, str(logs[-1]), last, *command(bundle, folder, out)]
        process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        target = done[-1]
        if kill < early:
            time.sleep(dice.uniform(0, 1.5))
        else:
            target += dice.randint(1, (total - done[-1]) // (kills - kill + 1))
        while recorded(out) < target:
            assert process.poll() is None
            time.sleep(dice.uniform(0, 0.004))
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
        done.append(recorded(out))
        assert done[-1] >= target
        assert not out.exists()
    logs.append(tmp_path / "last")
    argv = [sys.executable, "-c", LOGGING, str(logs[-1]), "0", *command(bundle, folder, out)]
    assert subprocess.run(argv, check=False).returncode == 1
    assert results(out) == results(quiet)
    # What was recorded when a run was killed, no later run has opened: each begins right behind it.
    names = [path.name for path in sorted(folder.rglob("*.png"))]
    for before, log in zip(done, logs, strict=True):
        opened = log.read_text().split() if log.exists() else []
        assert set(opened) <= set(names[before:])
        assert not opened or opened[0] in names[before : before + BATCH]
    return out


def test_killed_three_times(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 200)
    check(killed_runs(tiny_bundle, folder, tmp_path, 200, 3), folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_files_killed_ten_times(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 10_000)
    check(killed_runs(tiny_bundle, folder, tmp_path, 10_000, 10, early=3), folder)


def test_ctrl_c_says_how_to_go_on(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 2000)
    out = tmp_path / "v.npy"
    argv = [sys.executable, "-c", LOGGING, str(tmp_path / "log"), "2000", *command(tiny_bundle, folder, out)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    while not recorded(out):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("interrupted: ")
    assert last.endswith("run the same command again to go on from here")
    assert not out.exists()
    assert main(command(tiny_bundle, folder, out)) == 1
    assert len(np.load(out)) + len((tmp_path / "v.skipped.jsonl").read_text().splitlines()) == 2000
