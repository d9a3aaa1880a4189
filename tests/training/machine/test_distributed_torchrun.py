"""`torchrun -m training.pretrain` as a user runs it: killed, stopped and resumed, with one writer throughout.

It runs in a network of its own that holds nothing but loopback, because torchrun listens on every address.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from training.pretrain import main
from training.run import checkpoint, journal

PATIENCE = 240  # seconds to begin; the machine may be busy
PROMPT = 15  # seconds to end
SMALL = [
    "data.image_size=16",
    "data.workers=1",
    "train.device=cpu",
    "backbone.width=4",
    "heads.hidden=16",
    "heads.dim=8",
    "train.batch_size=8",
    "train.log_every=1",
    "train.epochs=5000",
    "train.checkpoint_every=2",
    "eval.every=0",
    "eval.k=3",
]
# Loopback up (SIOCSIFFLAGS with IFF_UP), then the command.
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH22x", b"lo", 1))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
APART = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


@pytest.fixture(scope="module", autouse=True)
def _needs_a_network_of_its_own() -> None:
    try:
        subprocess.run([*APART, sys.executable, "-c", LOOPBACK, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("unshare --net is missing or not permitted here")


@contextmanager
def _torchrun(out: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """torchrun with two processes, as soon as the run in `out` has saved; killed if it does not end."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "training.pretrain"]
    before = _saved(out)
    process = subprocess.Popen(
        [*APART, sys.executable, "-c", LOOPBACK, *launch, f"--out={out}", *words],
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while _saved(out) == before:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _saved(out: Path) -> int:
    return int(checkpoint.load(out)["step"]) if (out / checkpoint.FILE).exists() else 0


def _workers(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def _steps(out: Path) -> list[int]:
    lines = journal.read(out)
    return [line["step"] for line in lines if "loss" in line]


def _kill_a_worker(process: subprocess.Popen[str]) -> None:
    os.kill(_workers(process)[-1], signal.SIGKILL)


def _stop_torchrun(process: subprocess.Popen[str]) -> None:
    process.terminate()


def _stop_a_worker(process: subprocess.Popen[str]) -> None:
    os.kill(_workers(process)[-1], signal.SIGTERM)


def _press_ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)  # reaches the workers twice: from the terminal and from torchrun


def _end(process: subprocess.Popen[str], how: Callable[[subprocess.Popen[str]], None]) -> str:
    workers, began = _workers(process), time.monotonic()
    assert len(workers) == 2
    how(process)
    output, _ = process.communicate(timeout=4 * PROMPT)
    assert time.monotonic() - began < PROMPT
    assert process.returncode != 0  # torchrun's, which is 1 whatever the workers' are
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    return output


def test_killed_resumed_stopped_and_finished_by_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _torchrun(tmp_path, "simclr", "--adaptive", f"--data=folder:{folder}", *SMALL) as process:
        output = _end(process, _kill_a_worker)
    assert output.count("2 processes of cpu") == 1
    killed_at = _saved(tmp_path)
    assert killed_at >= 2
    with _torchrun(tmp_path, "--resume") as process:
        output = _end(process, _stop_torchrun)
    assert output.count(f"--resume --out {tmp_path}") == 1
    stopped_at = _saved(tmp_path)
    assert stopped_at == _steps(tmp_path)[-1] > killed_at
    assert main(["--resume", f"--out={tmp_path}", f"--eval=folder:{folder}", f"train.max_steps={stopped_at + 2}"]) == 0
    assert "kNN" in capsys.readouterr().out
    assert _steps(tmp_path) == list(range(1, stopped_at + 3))


@pytest.mark.slow
@pytest.mark.parametrize("how", [_stop_a_worker, _press_ctrl_c])
def test_a_signal_to_any_of_them_saves_and_stops_all(
    folder: Path, tmp_path: Path, how: Callable[[subprocess.Popen[str]], None]
) -> None:
    with _torchrun(tmp_path, f"--data=folder:{folder}", *SMALL) as process:
        output = _end(process, how)
    assert output.count(f"--resume --out {tmp_path}") == 1
    assert _saved(tmp_path) == _steps(tmp_path)[-1]
