from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from training import machine
from training.config import override, recipes

FAULTS = """
import resource, sys, torch
from training import machine
if sys.argv[1] == "kept":
    machine.keep_memory()
def touch():
    torch.ones(16 << 20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    before = touch()
for _ in range(4):
    after = touch()
print(after - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is set")
def test_freed_tensors_are_given_out_again_without_page_faults() -> None:
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("kept", "returned")
    )
    assert 2 * kept < returned


def test_an_apple_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config = override(recipes.recipe("simclr"), ["train.device=mps"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="PyTorch sees no Metal device"):
        machine.resolve(config)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    resolved = machine.resolve(config)
    assert (machine.device(resolved).type, resolved.train.precision) == ("mps", "fp32")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="leave torchrun out"):
        machine.resolve(config)


@pytest.mark.parametrize(
    ("device", "cores", "processes", "workers"),
    [("cpu", 1, 1, 1), ("cpu", 2, 1, 1), ("cpu", 8, 1, 7), ("cpu", 8, 4, 1), ("cuda", 8, 1, 8), ("cuda", 64, 2, 16)],
)
def test_workers_come_from_the_cores(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, processes: int, workers: int
) -> None:
    monkeypatch.setattr("training.machine.resources.cores", lambda: cores)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    config = override(recipes.recipe("simclr"), [f"train.device={device}", "train.precision=fp32"])
    assert machine.resolve(config).data.workers == workers
    assert machine.resolve(override(config, ["data.workers=0"])).data.workers == 0
    assert machine.resolve(override(machine.resolve(config), ["data.workers=auto"])).data.workers == workers
