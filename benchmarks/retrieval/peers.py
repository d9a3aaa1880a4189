"""Collections beside other embedded vector stores, each in a process of its own: `make bench-stores`.

    python -m benchmarks.retrieval.peers [--points 100000] [--size 512] [--queries 200] [--rounds 3] [--only NAME ...]

The vectors are those of `benchmarks.retrieval`; one client, one search at a time, in process. Every store searches by
the smallest of its widths whose recall@10 is 0.95 or more (its largest, where none is). The stores take turns, a third
of the queries at a time, so that what else the machine does meets all alike.

A line a store: points a second written in requests of a thousand; seconds until its index is built; width; recall@10;
median milliseconds of a search, and of one among the hundredth of the points that an indexed field names, with that
one's recall; the most memory of the process, MiB. Then `over_NAME`, the store's time for a search over ours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np

from benchmarks.retrieval.__main__ import GROUPS, TOGETHER, K, clustered
from benchmarks.retrieval.engines import ENGINES, Engine, Vectors

AIM = 0.95
OURS = "amcl-serve"
TRIED = 100  # queries by which the width is chosen


@dataclass(frozen=True)
class Truth:
    """The queries [Q, size], and the nearest [Q, K] of all points and of those of the query's group."""

    queries: Vectors
    nearest: Any
    in_group: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where a store is faster than ours."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval.peers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, value in (("points", 100_000), ("size", 512), ("queries", 200), ("seed", 0), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=list(ENGINES), metavar="NAME")
    options = parser.parse_args(arguments)
    vectors = clustered(options.points, options.size, options.seed)
    truth = _truth(vectors, clustered(options.queries, options.size, options.seed, more=1))
    context = multiprocessing.get_context("spawn")
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        workers = {}
        for name in options.only:  # one after the other: what they read and write meets none of the others
            here, there = context.Pipe()
            process = context.Process(target=work, args=(there, name, Path(folder) / name, options, truth))
            process.start()
            there.close()
            try:
                print(f"{name:14s} {here.recv()}", flush=True)
            except EOFError:
                print(f"{name:14s} failed, see above", flush=True)
                continue
            workers[name] = here, process
        for number in range(options.rounds):
            names = list(workers)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                here, _ = workers[name]
                here.send(range(number, options.queries, options.rounds))
                times.setdefault(name, []).append(here.recv())
        for here, process in workers.values():
            here.send(None)
            process.join()
    ahead = True
    for name, found in times.items():
        print(f"{name:14s} {1000 * median(found):8.3f} ms a search in turns")
        if name != OURS and OURS in times:
            ratio = median(theirs / ours for theirs, ours in zip(found, times[OURS], strict=True))
            print(f"over_{name.replace('-', '_')} = {ratio:.2f}")
            ahead &= ratio >= 1
    return 0 if ahead else 1


def _truth(vectors: Vectors, queries: Vectors) -> Truth:
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    in_group = np.empty((len(queries), K), np.int64)
    for number, query in enumerate(queries):
        group = number % GROUPS
        few = faiss.IndexFlatIP(vectors.shape[1])
        few.add(vectors[group::GROUPS])
        in_group[number] = few.search(query[None], K)[1][0] * GROUPS + group
    return Truth(queries, flat.search(queries, K)[1], in_group)


def work(pipe: Connection, name: str, folder: Path, options: argparse.Namespace, truth: Truth) -> None:
    """Build one store and say what that took; then search for the queries that are named until none are."""
    folder.mkdir(parents=True)
    vectors = clustered(options.points, options.size, options.seed)
    base = _peak()
    engine = ENGINES[name](folder, options.size)
    began = time.perf_counter()
    for start in range(0, len(vectors), TOGETHER):
        rows = range(start, min(start + TOGETHER, len(vectors)))
        engine.add(list(rows), vectors[start : start + TOGETHER], [row % GROUPS for row in rows])
    written = time.perf_counter() - began
    began = time.perf_counter()
    engine.settle()
    settled = time.perf_counter() - began
    width, recall = _width(engine, truth)
    found, spent = [], []
    for number, query in enumerate(truth.queries):
        began = time.perf_counter()
        found.append(engine.search(query, K, width, number % GROUPS))
        spent.append(time.perf_counter() - began)
    pipe.send(
        f"{len(vectors) / written:7.0f} points/s, index after {settled:6.1f} s, width {width:3d}: recall {recall:.3f}; "
        f"1 % filter {1000 * median(spent):7.2f} ms, recall {_recall(found, truth.in_group):.3f}; "
        f"{_peak() - base:5.0f} MiB beyond the vectors"
    )
    while (numbers := pipe.recv()) is not None:
        took = []
        for number in numbers:
            began = time.perf_counter()
            engine.search(truth.queries[number], K, width)
            took.append(time.perf_counter() - began)
        pipe.send(median(took))


def _width(engine: Engine, truth: Truth) -> tuple[int, float]:
    recall = 0.0
    for width in engine.widths:
        found = [engine.search(query, K, width) for query in truth.queries[:TRIED]]
        recall = _recall(found, truth.nearest[:TRIED])
        if recall >= AIM:
            break
    return width, recall


def _recall(found: Sequence[Sequence[int]], wanted: Any) -> float:
    return float(np.mean([len(set(ids) & set(best.tolist())) / K for ids, best in zip(found, wanted, strict=True)]))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
