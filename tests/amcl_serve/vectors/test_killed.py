"""A process that writes is killed: what it acknowledged is there, bit by bit, and nothing is there by half."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Query

SIZE = 32
TOGETHER = 20  # points of one write
WRITERS, SPAN = 3, 100_000  # threads, and groups that one of them writes at most

WRITER = """
import sys, threading
from pathlib import Path
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point, Query
from tests.amcl_serve.vectors.test_killed import SPAN, TOGETHER, WRITERS, vectors

store, first = SqliteStore(Path(sys.argv[1])), int(sys.argv[2])
lock = threading.Lock()

def write(number):
    for count in range(SPAN):
        group = first + SPAN * number + count
        points = [Point(group * TOGETHER + i, v, {"group": group}) for i, v in enumerate(vectors(group))]
        store.upsert("a", points)
        with lock:
            print("upsert", group, flush=True)
        if count % 3 == 2:
            store.delete("a", Chosen(where={"must": [{"key": "group", "match": {"value": group - 1}}]}))
            with lock:
                print("delete", group - 1, flush=True)
        if count % 5 == 0:
            store.query("a", Query(points[0].vector))

threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
for thread in threads:
    thread.start()
"""


def vectors(group):
    return np.random.default_rng(group).normal(size=(TOGETHER, SIZE)).astype(np.float32)


def check(folder: Path, acknowledged: dict[int, str]) -> None:
    store = SqliteStore(folder)
    try:
        found: dict[int, list[bytes]] = {}
        start = None
        while True:
            page = store.scroll("a", limit=1000, start=start)
            for record in page.records:
                found.setdefault(int(record.id) // TOGETHER, []).append(record.vector.tobytes())
                assert record.payload == {"group": int(record.id) // TOGETHER}
            start = page.next_offset
            if start is None:
                break
        for group, stored in found.items():  # all of a write, or nothing
            assert stored == [vector.tobytes() for vector in vectors(group)], group
        for group, last in acknowledged.items():
            if last == "upsert":
                # Its deletion may have been written, and the process killed before it said so.
                assert group in found or group % SPAN % 3 == 1, group
            else:
                assert group not in found, group
        assert store.describe("a").points == TOGETHER * len(found)
        if found:
            group = max(found)
            (hit,) = store.query("a", Query(vectors(group)[3], limit=1))
            assert hit.record.id == group * TOGETHER + 3
    finally:
        store.close()


def kill_over_and_over(folder: Path, times: int) -> int:
    store = SqliteStore(folder)
    store.create("a", SIZE, "Euclid")
    store.close()
    acknowledged: dict[int, str] = {}
    rng = np.random.default_rng(0)
    for turn in range(times):
        command = [sys.executable, "-c", WRITER, str(folder), str(WRITERS * SPAN * turn)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        # By what is written, not by time alone: however slow the machine is, each turn has something to lose.
        said = "".join(child.stdout.readline() for _ in range(rng.integers(5, 40)))
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
        said += child.stdout.read()
        assert child.wait() == -signal.SIGKILL
        for line in said.splitlines(keepends=True):
            if line.endswith("\n"):
                what, group = line.split()
                acknowledged[int(group)] = what
        check(folder, acknowledged)
    return len(acknowledged)


def test_what_was_acknowledged_is_there(tmp_path):
    assert kill_over_and_over(tmp_path, 3) > 10


@pytest.mark.slow
def test_a_hundred_times(tmp_path):
    assert kill_over_and_over(tmp_path, 100) > 1000
