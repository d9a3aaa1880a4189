"""Near duplicates among many points: time, memory, what is found, and whether finding them bit by bit finds the same.

    python -m benchmarks.retrieval.duplicates [--points 100000] [--size 512] [--threads 2] [--seed 0]

Clustered vectors of unit length, as in `benchmarks.retrieval`, whose cosines within a cluster are about 0.67. One in
fifty points is planted: a copy of another with noise, at a cosine from 0.97 to 1. Duplicates are cut at 0.95. The
collection's index is made first, so that what is measured is beyond it.

- `duplicates_s`, `duplicates_cpu_s`: seconds of a first run over all points, and of all its threads together, which is
  twice as much on two cores that do nothing else; `duplicates_mib`: what the process grew by meanwhile, at most.
- `planted_found`: share of the planted points that are in a group with the one that they were copied from.
- `others_found`: points in groups that are neither planted nor copied.
- `again_s`: the same once more; `incremental_s`: after 1,000 points have come, 500 were written again, 500 deleted.
- `incremental_equal`: 1 if its groups are those of a run over all points that knows nothing.
- `outliers_s`, `outliers_mib`: ten nearest neighbours of each point; `sample_s`, `sample_mib`: 1,000 points of all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil

from amcl_serve.vectors.analysis.analyses import Analyses
from amcl_serve.vectors.analysis.groups import Groups
from amcl_serve.vectors.analysis.steps import Steps
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point, Query, Vectors
from benchmarks.retrieval.__main__ import clustered, show

T = TypeVar("T")
CUT, PLANTED, TOGETHER, MiB = 0.95, 50, 1000, 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where what is found is not right."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval.duplicates")
    for name, value in (("points", 100_000), ("size", 512), ("threads", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    vectors = clustered(options.points, options.size, options.seed)
    copied = planted(vectors, rng)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = SqliteStore(Path(folder))
        store.create("a", options.size, "Cosine")
        for start in range(0, len(vectors), TOGETHER):
            store.upsert("a", [Point(start + i, v, {}) for i, v in enumerate(vectors[start : start + TOGETHER])])
        store.query("a", Query(vectors[0]))
        analyses = Analyses(options.threads)
        groups = measured("duplicates", lambda: analyses.duplicates(store.scan("a"), CUT))
        good = judged(store, groups, copied)
        measured("again", lambda: analyses.duplicates(store.scan("a"), CUT), memory=False)
        change(store, vectors, rng)
        after = measured("incremental", lambda: analyses.duplicates(store.scan("a"), CUT), memory=False)
        anew = driven(Analyses(options.threads).duplicates(store.scan("a"), CUT))
        equal = [set(rows.tolist()) for rows, _ in after] == [set(rows.tolist()) for rows, _ in anew]
        show("incremental_equal", int(equal))
        measured("outliers", lambda: analyses.outliers(store.scan("a"), 10, 100))
        measured("sample", lambda: analyses.diverse(store.scan("a"), 1000))
        store.close()
    return 0 if good and equal else 1


def planted(vectors: Vectors, rng: np.random.Generator) -> dict[int, int]:
    """Make some of the vectors near copies of others; which of which."""
    count = len(vectors) // PLANTED
    chosen = rng.permutation(len(vectors))[: 2 * count]
    targets, sources = chosen[:count], chosen[count:]
    noise = rng.standard_normal((count, vectors.shape[1]), dtype=np.float32)
    noise *= rng.uniform(0, 0.25, (count, 1)).astype(np.float32) / np.linalg.norm(noise, axis=1, keepdims=True)
    vectors[targets] = vectors[sources] + noise
    vectors[targets] /= np.linalg.norm(vectors[targets], axis=1, keepdims=True)
    return dict(zip(targets.tolist(), sources.tolist(), strict=True))


def driven(steps: Steps[T]) -> T:
    """What steps return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def measured(name: str, work: Callable[[], Steps[T]], *, memory: bool = True) -> T:
    """What the work returns; its time is shown, and what the process grew by."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, busy = time.perf_counter(), time.process_time()
    try:
        found = driven(work())
    finally:
        took, busy = time.perf_counter() - began, time.process_time() - busy
        done.set()
        watcher.join()
    show(f"{name}_s", took)
    show(f"{name}_cpu_s", busy)
    if memory:
        show(f"{name}_mib", (peak - before) / MiB)
    return found


def judged(store: SqliteStore, groups: Groups, copied: dict[int, int]) -> bool:
    """Whether the planted points were found, and nothing else."""
    scan = store.scan("a")
    group_of = {}
    for number, (rows, _) in enumerate(groups):
        for point in scan.points(np.sort(rows)).values():
            group_of[point.id] = number
    found = [group_of.get(a, -1) == group_of.get(b, -2) for a, b in copied.items()]
    others = set(group_of) - set(copied) - set(copied.values())
    show("planted_found", float(np.mean(found)))
    show("others_found", len(others))
    return bool(np.mean(found) >= 0.99) and not others


def change(store: SqliteStore, vectors: Vectors, rng: np.random.Generator) -> None:
    """Add points, near copies of others every second, write some again, delete some."""
    new = clustered(TOGETHER, vectors.shape[1], 0, more=2)
    new[::2] = vectors[rng.choice(len(vectors), len(new[::2]))]
    new[::2] += 0.005 * rng.standard_normal(new[::2].shape, dtype=np.float32)
    store.upsert("a", [Point(len(vectors) + i, v, {}) for i, v in enumerate(new)])
    ids = rng.choice(len(vectors), TOGETHER, replace=False).tolist()
    again = vectors[rng.choice(len(vectors), TOGETHER // 2)]
    store.upsert("a", [Point(i, v, {}) for i, v in zip(ids[::2], again, strict=True)])
    store.delete("a", Chosen(ids[1::2]))


if __name__ == "__main__":
    sys.exit(main())
