"""Damaged files of every accepted kind through decoding, as a server decodes them: no file may end the process.

A worker decodes as a server does: the fast path in its own process, the rest in children; glibc checks every block of
memory that is freed (MALLOC_CHECK_=3). The file of a number is made from the seed and the number alone. A worker that
dies is a failure: its file is kept, another goes on behind it, and the exit code is 1. Children may die; they are
counted.

    python -m benchmarks.fuzz --files 200000 --seed 0
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from amcl_serve.errors import AmclError
from amcl_serve.machine import cores
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.children.pool import shared
from amcl_serve.model.formats.files import is_fast, kind_of
from amcl_serve.model.pixels import decode
from benchmarks.processes import ROOT
from tests.seeds import damaged, seeds

MAX_PIXELS = 1_000_000
SPECS = (InputSpec(size=32), InputSpec(size=32, scaled_jpeg_decoding=True))
BLOCK = 200  # files between two reports of a worker
CHECKER = "libc_malloc_debug.so.0"  # since glibc 2.34 the checks are a library of their own


@dataclass
class Tally:
    """What became of the files: numbers by (path, kind, outcome), children that died, workers that died."""

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    children: int = 0
    deaths: list[tuple[int, int]] = field(default_factory=list)  # number of the file, exit status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for files that end a worker")
    parser.add_argument("--worker", type=int, nargs=3, metavar=("FIRST", "STOP", "NOTE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args.seed, *args.worker)
    start = time.perf_counter()
    bounds = [args.files * part // args.workers for part in range(args.workers + 1)]
    with ThreadPoolExecutor(args.workers) as pool:
        tallies = list(pool.map(lambda part: watch(args.seed, bounds[part], bounds[part + 1]), range(args.workers)))
    for tally in tallies:
        for number, _ in tally.deaths:
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"{args.seed}-{number}").write_bytes(file(args.seed, number)[1])
    report(tallies, args.files, time.perf_counter() - start, args.keep)
    return int(any(tally.deaths for tally in tallies))


def file(seed: int, number: int) -> tuple[str, bytes]:
    """Kind and bytes of a file by its number."""
    rng = random.Random(f"{seed}:{number}")
    kind = rng.choice(sorted({name.partition(" ")[0] for name in seeds()}))
    name = rng.choice([name for name in seeds() if name.startswith(kind)])
    return kind, damaged(seeds()[name], rng)


def work(seed: int, first: int, stop: int, note: int) -> int:
    """Decode the files of some numbers, print after each block what came of it, and note each number beforehand."""
    warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
    lost = 0
    for begin in range(first, stop, BLOCK):
        outcomes: Counter[str] = Counter()
        for number in range(begin, min(begin + BLOCK, stop)):
            kind, data = file(seed, number)
            os.pwrite(note, number.to_bytes(8, "little"), 0)
            outcomes[json.dumps([path(data), kind, outcome(data, SPECS[number % 2], number % 5 == 0)])] += 1
        print(json.dumps([min(begin + BLOCK, stop), dict(outcomes), shared().lost - lost]), flush=True)
        lost = shared().lost
    return 0


def path(data: bytes) -> str:
    """Which way a file takes."""
    try:
        return "fast" if is_fast(kind_of(data), data) else "child"
    except AmclError:
        return "none"


def outcome(data: bytes, spec: InputSpec, accept_truncated: bool) -> str:
    """The code of the error, or `ok`."""
    try:
        decode(data, spec, max_pixels=MAX_PIXELS, accept_truncated=accept_truncated)
    except AmclError as error:
        return error.code
    return "ok"


def watch(seed: int, first: int, stop: int) -> Tally:
    """Workers one after the other, until all files of some numbers are decoded or have ended one."""
    tally = Tally()
    environment = {**os.environ, "MALLOC_CHECK_": "3"}
    if available(CHECKER):
        environment["LD_PRELOAD"] = CHECKER
    while first < stop:
        note = os.memfd_create("number")
        os.pwrite(note, first.to_bytes(8, "little"), 0)
        part = [str(number) for number in (first, stop, note)]
        command = [sys.executable, "-m", "benchmarks.fuzz", "--seed", str(seed), "--worker", *part]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, pass_fds=(note,), text=True
        ) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                first = add(tally, line)
        if worker.returncode:
            died = int.from_bytes(os.pread(note, 8, 0), "little")
            tally.deaths.append((died, worker.returncode))
            first = max(first, died) + 1  # what came before it in its block goes uncounted
        os.close(note)
    return tally


def add(tally: Tally, line: str) -> int:
    """Count a worker's report; the number of the next file."""
    number, outcomes, children = json.loads(line)
    for key, count in outcomes.items():
        way, kind, code = json.loads(key)
        tally.outcomes[way, kind, code] += count
    tally.children += children
    return int(number)


def available(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def report(tallies: list[Tally], files: int, seconds: float, keep: Path) -> None:
    total: Counter[tuple[str, str, str]] = sum((tally.outcomes for tally in tallies), Counter())
    print(f"{files} files in {seconds:.0f} s, {files / seconds:.0f} a second; MALLOC_CHECK_ ", end="")
    print("on" if available(CHECKER) else "left to this C library")
    codes = sorted({code for _, _, code in total})
    print(f"{'kind':<8}{'path':<8}" + "".join(f"{code:>20}" for code in codes))
    for way, kind in sorted({(way, kind) for way, kind, _ in total}, key=lambda row: row[::-1]):
        print(f"{kind:<8}{way:<8}" + "".join(f"{total[way, kind, code]:>20}" for code in codes))
    print(f"children lost: {sum(tally.children for tally in tallies)}")
    deaths = [death for tally in tallies for death in tally.deaths]
    print(f"workers lost: {len(deaths)}" + (f", files in {keep}: {deaths}" if deaths else ""))


if __name__ == "__main__":
    sys.exit(main())
