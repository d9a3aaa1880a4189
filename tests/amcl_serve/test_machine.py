from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from amcl_serve import machine

LARGE = """
from PIL import Image
from amcl_serve.machine import free_large_blocks_at_once

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if {call}:
    free_large_blocks_at_once()
before, kept = resident(), []
for _ in range(3):
    image = Image.new("RGB", (4000, 3000), "red")
    kept.append(bytearray(100_000))  # lies behind the image's blocks, as what other requests hold
    del image
print(resident() - before)
"""


def test_cores_are_those_of_the_process() -> None:
    assert 1 <= machine.cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/a/b\n", {}, 64),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "cpu.max": "400000 100000"}, 1),
        ("4:cpuset,cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 64),
    ],
)
def test_a_control_group_may_give_fewer_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n" * ("cgroup/" in name))
    assert machine.cores(tmp_path) == cores


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a knob of glibc")
def test_what_a_large_image_took_is_given_back() -> None:
    """Against the default in the same way, which keeps some 40 MB here."""
    grown = {
        call: int(
            subprocess.run([sys.executable, "-c", LARGE.format(call=call)], capture_output=True, check=True).stdout
        )
        for call in (True, False)
    }
    assert grown[True] < 8 << 20 < grown[False]
