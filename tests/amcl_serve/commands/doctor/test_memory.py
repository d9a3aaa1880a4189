from __future__ import annotations

import re
from pathlib import Path

import pytest

from amcl_serve import machine
from amcl_serve.commands import doctor
from amcl_serve.machine import Memory
from tests.amcl_serve.commands.doctor.asking import Doctor, MiB
from tests.fakes import make_bundle


@pytest.mark.parametrize(
    ("free", "status", "said"),
    [
        (100 * MiB, "fail", "give it more, or serve fewer or smaller models"),
        (200 * MiB, "warn", r"under the worst load: give it more, or lower --max-pixels, --decode-threads"),
        (64_000 * MiB, "ok", "under the worst load"),
    ],
)
def test_memory(ask: Doctor, monkeypatch: pytest.MonkeyPatch, free: int, status: str, said: str) -> None:
    monkeypatch.setattr(machine, "memory", lambda: Memory(free, "the control group's limit of 512 MiB"))
    code, lines = ask()
    assert code == (1 if status == "fail" else 0)
    assert re.match(
        rf"{status} [\d,]+ MiB left by the control group's limit of 512 MiB, about 150 MiB .*{said}", lines["memory"]
    )


def test_large_images_do_not_add_up_over_threads() -> None:
    one, many = (doctor.decoding_bytes(doctor.Settings(decode_threads=count)) for count in (1, 16))
    assert 16 * 64e6 < one < many < 2.5 * one
    assert doctor.decoding_bytes(doctor.Settings(decode_threads=1, max_pixels=128_000_000)) - one == 16 * 64_000_000


def test_the_memory_that_a_model_needs_grows_with_its_file(tmp_path: Path) -> None:
    from amcl_serve.hosting.opening import memory_needed
    from amcl_serve.model.bundle import Bundle

    bundle = Bundle.open(make_bundle(tmp_path / "b", precisions=("fp32", "fp16")))
    with bundle.encoder_path("fp16").open("ab") as stream:
        stream.write(bytes(1000))
    small, big = (bundle.encoder_path(precision).stat().st_size for precision in ("fp32", "fp16"))
    for precision, size in (("fp32", 3.5 * small), ("fp16", 6.5 * big), ("auto", 6.5 * big)):
        assert memory_needed(bundle, doctor.Settings(precision=precision)) == int(size)


def test_memory_is_not_known(ask: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "memory", lambda: None)
    assert ask()[1]["memory"].startswith("warn not known here")
    monkeypatch.setattr(machine, "memory", lambda: Memory(MiB, "the machine's free memory"))
    assert "not known without the model" in ask("--model", str(tmp_path / "none"))[1]["memory"]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4096 kB\n"}


@pytest.mark.parametrize(
    ("files", "free", "bound"),
    [
        ({}, 4096 * 1024, "the machine's free memory"),
        (
            {  # a container: the group's path is the host's, its files are at the top
                "proc/self/cgroup": "0::/docker/abc\n",
                "sys/fs/cgroup/memory.max": str(3 * MiB),
                "sys/fs/cgroup/memory.current": str(2 * MiB),
                "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {MiB}\nslab 7\n",
            },
            2 * MiB,
            "the control group's limit of 3 MiB",
        ),
        (
            {  # a service: the group has no limit, the one around it has
                "proc/self/cgroup": "0::/system.slice/amcl.service\n",
                "sys/fs/cgroup/system.slice/amcl.service/memory.max": "max\n",
                "sys/fs/cgroup/system.slice/amcl.service/memory.current": "5",
                "sys/fs/cgroup/system.slice/memory.max": str(MiB),
                "sys/fs/cgroup/system.slice/memory.current": str(2 * MiB),
            },
            0,
            "the control group's limit of 1 MiB",
        ),
        (
            {  # version 1
                "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/job\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2 * MiB),
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(MiB),
                "sys/fs/cgroup/memory/job/memory.stat": "total_inactive_file 24\n",
            },
            MiB + 24,
            "the control group's limit of 2 MiB",
        ),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(900 * MiB)},
            4096 * 1024,
            "the machine's free memory",
        ),
    ],
)
def test_memory_under_every_limit(tmp_path: Path, files: dict[str, str], free: int, bound: str) -> None:
    assert machine.memory(write(tmp_path, MEMINFO | files)) == Memory(free, bound)


def test_memory_of_no_linux(tmp_path: Path) -> None:
    assert machine.memory(tmp_path) is None
