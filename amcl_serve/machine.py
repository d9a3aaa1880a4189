"""This machine: cores, memory under every limit on this process, CUDA's libraries. Linux knows most of it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DRIVER = "libcuda.so.1"
_M_MMAP_THRESHOLD = -3  # of malloc.h
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" by a number near 2^63


class Memory(NamedTuple):
    """Bytes that this process can still take, and what sets them."""

    free: int
    bound: str


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, and the time that control groups give it (`docker --cpus=2`).

    `root` holds /proc and /sys.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([mine, *(math.ceil(share) for share in _shares(root))]))


def memory(root: Path = Path("/")) -> Memory | None:
    """The least of what the machine has free and what the cgroups of this process leave; None where nothing is known.

    `root` holds /proc and /sys.
    """
    found = [Memory(free, "the machine's free memory") for free in _available(root / "proc/meminfo")]
    found += [
        Memory(max(limit - used, 0), f"the control group's limit of {mebibytes(limit)}")
        for limit, used in _groups(root)
    ]
    return min(found, default=None)


def give_memory_back() -> None:
    """Return what is free to the system, after something large is gone.

    An array that a session gave out holds the session's whole arena, so cycles of such arrays are collected first;
    and the C library keeps what is freed until it is asked (glibc; others have no such call).
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def free_large_blocks_at_once() -> None:
    """Have glibc return every block of 4 MiB or more to the system when it is freed.

    By default the first large images raise that bound to 32 MiB, above Pillow's blocks of 16: what such images took
    then stays with the process. Smaller blocks, as most requests need, are kept and used again.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 4 << 20)


def mebibytes(size: int) -> str:
    """A number of bytes as people read it."""
    return f"{size / 2**20:,.0f} MiB"


def cuda_libraries(version: str) -> tuple[str, ...]:
    """What onnxruntime's CUDA provider loads, if it is built for CUDA `version`: the driver, then the toolkit's."""
    major = version.partition(".")[0]
    toolkit = (f"libcudart.so.{major}", f"libcublasLt.so.{major}", f"libcublas.so.{major}")
    return (DRIVER, *toolkit, "libcurand.so.10", "libcudnn.so.9")


def missing_libraries(names: tuple[str, ...]) -> list[str]:
    """Those of `names` that the dynamic loader does not find; one that this process has loaded is found."""
    return [name for name in names if not _loads(name)]


def gpus() -> int:
    """Number of GPUs that the driver gives this process; 0 where it cannot say."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _available(meminfo: Path) -> Iterator[int]:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _shares(root: Path) -> Iterator[float]:
    """Cores' worth of time of each cgroup around this process that has a limit."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            if controllers == "":
                words = "".join(_lines(root / "sys/fs/cgroup" / folder / "cpu.max")).split()
                limit, period = (int(w) if w.isdecimal() else None for w in words) if len(words) == 2 else (None, None)
            elif "cpu" in controllers.split(","):
                top = root / "sys/fs/cgroup/cpu" / folder
                limit, period = _number(top / "cpu.cfs_quota_us"), _number(top / "cpu.cfs_period_us")  # -1: no limit
            else:
                continue
            if limit and period:
                yield limit / period


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes used that cannot be given back) of each cgroup around this process that has a limit."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):  # inside a container the path may be that of the host: the top is ours
            limit, used = (_number(top / folder / name) for name in names[:2])
            if limit is not None and limit < _UNLIMITED:
                cached = [int(line.split()[1]) for line in _lines(top / folder / "memory.stat") if names[2] in line]
                yield limit, (used or 0) - sum(cached[:1])


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None  # "max" is none


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
