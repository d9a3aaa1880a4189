"""Reads and searches beside writes: each sees a state that was, and every write that had returned before."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from amcl_serve.vectors.types import Chosen, Point, Query


class Writers:
    """Calls `step` over and over in threads, until the block ends; what they raise, it raises."""

    def __init__(self, step, threads=2):
        self._ended = threading.Event()
        self._errors = []
        self._threads = [threading.Thread(target=self._run, args=(step, number)) for number in range(threads)]

    def _run(self, step, number):
        try:
            for count in itertools.count():
                if self._ended.is_set():
                    return
                step(number, count)
        except BaseException as error:
            self._errors.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors


@pytest.mark.parametrize("where", [None, {"must": [{"key": "kind", "match": {"value": "kept"}}]}])
def test_a_point_that_is_written_again_and_again_is_found_each_time(store, where):
    store.create("a", 4, "Dot")
    rng = np.random.default_rng(0)
    store.upsert("a", [Point(i, v, {"kind": "other"}) for i, v in enumerate(rng.normal(size=(200, 4)))])
    best = np.full(4, 100.0)

    def write(number, count):
        store.upsert("a", [Point(1000 + number, best + count % 7, {"kind": "kept"})])

    for number in range(2):
        write(number, 0)
    with Writers(write):
        for _ in range(300):
            hits = store.query("a", Query([1, 1, 1, 1], limit=2, filter=where))
            assert {hit.record.id for hit in hits} == {1000, 1001}
            assert all(float(hit.score) == 400 + 4 * ((float(hit.score) - 400) / 4 % 7) for hit in hits)
            assert all(float(hit.record.vector.sum()) == float(hit.score) for hit in hits)


def test_points_that_move_together_are_seen_together(store):
    """One upsert moves two points: no search, scroll or count sees one moved and the other not."""
    store.create("a", 1, "Dot")

    def write(number, count):
        assert number == 0
        store.upsert("a", [Point(1, [count], {"at": count}), Point(2, [count], {"at": count})])

    write(0, 0)
    with Writers(write, threads=1):
        for _ in range(300):
            first, second = store.query("a", Query([1]))
            assert float(first.score) == float(second.score) == first.record.payload["at"]
            records = store.scroll("a", limit=5).records
            assert len({record.payload["at"] for record in records}) == 1
            assert store.count("a") == store.describe("a").points == 2


def test_what_is_deleted_and_written_while_an_index_is_made(store):
    store.create("a", 8, "Euclid")
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3000, 8))
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(vectors)])
    for turn in range(5):
        store._search.close()  # the next query makes it anew

        def write(number, count, turn=turn):
            first = 10_000 * (turn + 1) + 1000 * number + count
            store.upsert("a", [Point(first, vectors[count % 3000], {})])
            store.delete("a", Chosen(ids=[first - 1]))

        with Writers(write):
            found = [{hit.record.id for hit in store.query("a", Query(vectors[7], limit=1000))} for _ in range(5)]
        assert all(7 in hits for hits in found)
        after = {record.id for start in range(0, 70_000, 1000)
                 for record in store.scroll("a", limit=1000, start=start).records}  # fmt: skip
        hits = {hit.record.id for hit in store.query("a", Query(vectors[7], limit=1000))}
        assert hits <= after
        assert len(hits) == 1000
