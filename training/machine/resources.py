"""What the machine offers a run: device, precision, threads, workers, memory."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
from pathlib import Path

import torch

from amcl_serve.machine import cores
from training.config import Config
from training.config.keys import C

_MOST_WORKERS = 16
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def resolve(config: C) -> C:
    """`auto` values replaced by what they are here, so that the run's own config says what it did; ValueError."""
    train = config.train
    device = train.device if train.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise ValueError(f"train.device={device}, but PyTorch sees {torch.cuda.device_count()} CUDA devices here")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("train.device=mps, but PyTorch sees no Metal device here")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda" and processes > torch.cuda.device_count():
        raise ValueError(f"{processes} processes here, but PyTorch sees {torch.cuda.device_count()} CUDA devices")
    if device == "mps" and processes > 1:
        raise ValueError("train.device=mps is one device; leave torchrun out")
    if device.startswith("cuda:") and processes > 1:
        raise ValueError(
            f"train.device={device} is one device, but there are {processes} processes; leave out the number"
        )
    precision = train.precision
    if precision == "auto":
        native = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.startswith("cuda")
            else device == "cpu" and _cpu_computes_bf16()
        )
        precision = "bf16" if native else "fp32"
    threads = train.threads or max(1, cores() // processes)
    workers = _workers(device, processes) if config.data.workers < 0 else config.data.workers
    train = dataclasses.replace(train, device=device, precision=precision, threads=threads)
    return dataclasses.replace(config, train=train, data=dataclasses.replace(config.data, workers=workers))


def device(config: Config) -> torch.device:
    """The device of this process: the one that `config` names, or in a distributed run the one of its number."""
    name = config.train.device
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name)


def _workers(device: str, processes: int) -> int:
    """Processes that read images for one of several training processes here.

    Its share of the cores; where the CPU trains, less one for that. More than _MOST_WORKERS would hold batches and
    memory and bring little: with a cache one reads thousands of images a second.
    """
    share = cores() // processes
    return min(_MOST_WORKERS, max(1, share - 1 if device == "cpu" else share))


def keep_memory() -> None:
    """Have glibc keep what tensors free and give it out again, where it would return every large block to the kernel.

    A step on a CPU allocates and frees gigabytes, in blocks that malloc maps one by one; zeroing their pages anew took
    a sixth of the step. For the whole process, which as a consequence never shrinks below its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
        mallopt(parameter, value)


def _cpu_computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
