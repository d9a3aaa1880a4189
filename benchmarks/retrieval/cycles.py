"""Whether disk and memory stay where they are while points come and go.

    python -m benchmarks.retrieval.cycles [--cycles 200000] [--points 30000] [--size 512] [--writers 8] [--together 1]

A store in this process holds `--points` clustered vectors, searched by a graph. Then `--writers` threads write points,
`--together` at a time, and delete them again, until `--cycles` points have come and gone, each write and each deletion
on the disk when it is answered; another thread searches all the while. Disk is what the folder's files take, memory
what the process holds, each before and after when nothing has been written for a while; and the most of either between.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point, Query
from benchmarks.processes import MiB
from benchmarks.retrieval.__main__ import TOGETHER, Vectors, clustered, show

MARGIN = 1.1
REST = 5.0  # seconds without a write, in which room is given back
NAME = "a"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where disk or memory has grown by more than a tenth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval.cycles", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, value in (("cycles", 200_000), ("points", 30_000), ("size", 512), ("writers", 8), ("together", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    vectors = clustered(options.points, options.size, 0)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        store = SqliteStore(folder)
        store.create(NAME, options.size, "Cosine")
        for start in range(0, len(vectors), TOGETHER):
            rows = range(start, min(start + TOGETHER, len(vectors)))
            store.upsert(NAME, [Point(row, vectors[row], {"group": row}) for row in rows])
        store.query(NAME, Query(vectors[0]))
        while store.describe(NAME).in_graph < 0.9 * len(vectors):
            time.sleep(1)
        run(store, vectors, options, options.cycles // 20)  # what caches take once and for all
        began = _taken(folder)
        most = run(store, vectors, options, options.cycles, folder)
        ended = _taken(folder)
        store.close()
    within = True
    for what, before, between, after in zip(("disk", "memory"), began, most, ended, strict=True):
        show(f"{what}_before", before / MiB, "MiB")
        show(f"{what}_most", between / MiB, "MiB")
        show(f"{what}_after", after / MiB, "MiB")
        show(f"{what}_ratio", after / before)
        within &= after <= MARGIN * before
    return 0 if within else 1


def run(
    store: SqliteStore, vectors: Vectors, options: argparse.Namespace, cycles: int, folder: Path | None = None
) -> tuple[int, int]:
    """Let so many points come and go; the most that disk and memory took, where `folder` is given."""
    numbers = itertools.count()  # its next is atomic
    end = threading.Event()

    def write() -> None:
        while (number := options.together * next(numbers)) < cycles:
            ids = range(10_000_000 + number, 10_000_000 + number + options.together)
            store.upsert(NAME, [Point(each, vectors[each % len(vectors)], {"group": each}) for each in ids])
            store.delete(NAME, Chosen(ids=ids))

    def search() -> None:
        rng = np.random.default_rng(0)
        while not end.wait(0.005):
            assert len(store.query(NAME, Query(vectors[rng.integers(len(vectors))]))) == 10

    threads = [threading.Thread(target=work) for work in (*[write] * options.writers, search)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    most = (0, 0)
    while any(thread.is_alive() for thread in threads[:-1]):
        if folder is not None:
            disk, memory = _now(folder)
            most = (max(most[0], disk), max(most[1], memory))
        time.sleep(0.2)
    if folder is not None:
        show("cycles", cycles / (time.perf_counter() - began), "points/s")
    end.set()
    threads[-1].join()
    return most


def _taken(folder: Path) -> tuple[int, int]:
    time.sleep(REST)
    return _now(folder)


def _now(folder: Path) -> tuple[int, int]:
    """Bytes on the disk and in memory."""
    disk = 0
    for path in folder.rglob("*"):
        try:
            disk += 512 * path.stat().st_blocks
        except FileNotFoundError:  # a file that another takes the place of
            continue
    return disk, psutil.Process().memory_info().rss


if __name__ == "__main__":
    sys.exit(main())
