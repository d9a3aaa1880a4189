"""Servers take turns, round by round, so that what else the machine does meets all alike."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.processes import Server, post, running
from benchmarks.serving.load import Bodies, Load, send
from benchmarks.serving.servers import Start

PATH = "/embed"  # of every server
_START, _STOP = 60.0, 2.0  # seconds
_WARM_UP = 1  # seconds at 16 connections
_MIN_COSINE = 0.999  # of an answer to the embedding computed here

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """A load, and what the server spent on it: its own CPU seconds a second, and the most memory so far, MiB."""

    load: Load
    cores: float
    peak: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server for each request."""
        return 1000 * self.cores / self.load.rate


@dataclass(frozen=True)
class Task:
    """A run of wrk: the kind of bodies and the number of connections."""

    body: str
    connections: int


@dataclass(frozen=True)
class Stage:
    """What all turns share."""

    bodies: dict[str, Bodies]
    expected: dict[bool, Vector]  # of the first image, by whether decoding is scaled
    bundles: dict[bool, Path]  # for ours, by the same
    folder: Path  # for what servers write


@contextmanager
def serving(start: Start, stage: Stage) -> Iterator[Server]:
    """Start the server, see that it answers rightly, warm it up; it is ended after the block."""
    kind = stage.bodies[start.body]
    body = kind.files[0].read_bytes()
    environment = os.environ | start.environment(stage.bundles[start.scaled], stage.folder)

    def ask(url: str) -> bytes:
        return post(url + PATH, kind.content_type, body, timeout=5.0)

    log = stage.folder / f"{start.server}.log"
    with running(start.command, environment, log, ask, seconds=_START, stop=_STOP) as server:
        _check(json.loads(ask(server.url)), stage.expected[start.scaled])
        server.watch_memory()
        send(server.url + PATH, kind, connections=16, seconds=_WARM_UP)
        yield server


def turn(start: Start, tasks: Sequence[Task], seconds: int, stage: Stage) -> list[Sample]:
    """One server's turn: each task's load in order."""
    samples = []
    with serving(start, stage) as server:
        for task in tasks:
            before = server.cpu_seconds()
            load = send(server.url + PATH, stage.bodies[task.body], connections=task.connections, seconds=seconds)
            spent = server.cpu_seconds() - before
            server.note_memory()
            samples.append(Sample(load, spent / load.seconds, server.peak_shared))
    return samples


def _check(answer: dict[str, list[dict[str, list[float]]]], expected: Vector) -> None:
    found = np.array(answer["data"][0]["embedding"], np.float64)
    cosine = float(found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected)))
    if not cosine >= _MIN_COSINE:
        raise RuntimeError(f"another embedding than the one computed here, at a cosine of {cosine:.4f}")


@dataclass(frozen=True, order=True)
class Key:
    """What a line of the table is about."""

    body: str
    connections: int
    server: str
    scaled: bool


class Results:
    """The samples of all rounds."""

    def __init__(self) -> None:
        self.samples: dict[Key, list[Sample]] = defaultdict(list)

    def add(self, key: Key, sample: Sample) -> None:
        """Note a round's sample."""
        self.samples[key].append(sample)

    def rates(self, key: Key) -> list[float]:
        """Answers a second, round by round."""
        return [sample.load.rate for sample in self.samples[key]]

    def p50(self, key: Key) -> float:
        """Median over rounds of the median latency, milliseconds."""
        return median(sample.load.p50 for sample in self.samples[key])

    def table(self) -> Iterator[str]:
        """Lines for a reader, medians over rounds; memory is the highest of all rounds."""
        yield (
            "| body | connections | server | decoding | requests/s | p50 ms | p95 ms | p99 ms "
            "| CPU ms a request | cores used | of wrk | peak MiB |"
        )
        yield "| --- " * 12 + "|"
        for key in sorted(self.samples):
            rounds = self.samples[key]
            loads = [sample.load for sample in rounds]
            cells = [
                f"{median(load.rate for load in loads):.0f}",
                f"{median(load.p50 for load in loads):.2f}",
                f"{median(load.p95 for load in loads):.2f}",
                f"{median(load.p99 for load in loads):.2f}",
                f"{median(sample.cpu_ms for sample in rounds):.2f}",
                f"{median(sample.cores for sample in rounds):.2f}",
                f"{median(load.cores for load in loads):.2f}",
                f"{max(sample.peak for sample in rounds):.0f}",
            ]
            decoding = "scaled" if key.scaled else "full"
            yield f"| {key.body} | {key.connections} | {key.server} | {decoding} | {' | '.join(cells)} |"
