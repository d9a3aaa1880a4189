from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest, SnapshotNotFound, StorageFull
from amcl_serve.vectors.sqlite import copies
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, CreateAlias, IndexChoice, ModelRef, Point, Query
from tests.amcl_serve.vectors.points import A_UUID

SIZE = 8


def vectors(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)


def fill(store, name="a", count=50, **options):
    store.create(name, SIZE, "Dot", **options)
    store.index_field(name, "n", "integer")
    store.upsert(name, [Point(i, v, {"n": i}) for i, v in enumerate(vectors(count))], model=ModelRef("m", "d", SIZE))
    store.upsert(name, [Point(A_UUID, vectors(1, 5)[0], {"n": -1})])


def state(store, name):
    records = store.scroll(name, limit=1000).records
    return [(each.id, each.version, each.vector.tobytes(), each.payload_json) for each in records]


def test_a_snapshot_is_what_was(store):
    fill(store, index=IndexChoice("ivf", "int8"))
    before = state(store, "a"), store.describe("a")
    made = store.create_snapshot("a")
    assert store.snapshots("a") == [made]
    path = store.snapshot_file("a", made.name)
    assert path.stat().st_size == made.size
    store.upsert("a", [Point(3, vectors(1, 9)[0], {}), Point(900, vectors(1, 9)[0], {})])
    store.delete("a", Chosen(where={"must": [{"key": "n", "range": {"gt": 20}}]}))
    store.query("a", Query(vectors(1)[0]))
    store.change_aliases([CreateAlias("current", "a")])
    store.recover("a", made.name)
    assert (state(store, "a"), store.describe("a")) == before
    assert store.query("current", Query(7)) != []
    assert store.count("a", {"must": [{"key": "n", "range": {"gt": 20}}]}) == 29
    assert [field.filled for field in store.fields("a")] == [True]
    assert store.names() == ["a"]
    assert store.upsert("a", [Point(1000, vectors(1)[0], {})]) == before[0][0][1] + 2  # versions go on from there


def test_one_can_become_another_collection_also_after_its_own_is_gone(store, tmp_path):
    fill(store)
    before = state(store, "a")
    made = store.create_snapshot("a")
    store.recover("b", made.name, of="a")
    assert state(store, "a") == state(store, "b") == before
    store.drop("a")
    store.recover("c", made.name, of="a", checksum=made.checksum)
    assert state(store, "c") == before
    store.close()
    store = SqliteStore(tmp_path / "data")
    assert store.names() == ["b", "c"]
    assert [hit.record.id for hit in store.query("b", Query(vectors(50)[3], limit=50))] == [
        hit.record.id for hit in store.query("c", Query(vectors(50)[3], limit=50))
    ]
    store.close()


def test_what_is_written_meanwhile_is_not_half_in_it(store):
    store.create("a", SIZE, "Dot")
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            store.upsert("a", [Point(i, np.full(SIZE, number), {"n": number}) for i in range(20)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not store.describe("a").points:
            time.sleep(0.01)
        names = [store.create_snapshot("a").name for _ in range(5)]
    finally:
        stop.set()
        writer.join()
    for name in names:
        store.recover("b", name, of="a")
        assert len({record.payload_json for record in store.scroll("b", limit=20).records}) == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "text", "checksum"])
def test_a_damaged_one_is_refused_and_nothing_changes(store, damage):
    fill(store)
    made = store.create_snapshot("a")
    path = store.snapshot_file("a", made.name)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[:-20_000] if damage == "cut" else b"nothing" if damage == "text" else data)
    if damage == "text":
        path.with_name(f"{path.name}.checksum").unlink()
    before = state(store, "a")
    with pytest.raises(InvalidRequest, match="cannot be read" if damage == "text" else "SHA-256"):
        store.recover("a", made.name, checksum="0" * 64 if damage == "checksum" else None)
    assert state(store, "a") == before
    assert store.names() == ["a"]


def test_what_is_not_there_or_in_the_way(store):
    fill(store)
    made = store.create_snapshot("a")
    with pytest.raises(CollectionNotFound):
        store.create_snapshot("b")
    for name in ("nope.snapshot", "../../collections.sqlite3", "..", f"{made.name}.checksum", ""):
        with pytest.raises(SnapshotNotFound):
            store.snapshot_file("a", name)
    store.change_aliases([CreateAlias("current", "a")])
    with pytest.raises(CollectionExists):
        store.recover("current", made.name, of="a")
    with pytest.raises(InvalidRequest):
        store.recover("a", made.name, of="../a")
    store.delete_snapshot("a", made.name)
    with pytest.raises(SnapshotNotFound):
        store.delete_snapshot("a", made.name)
    assert store.snapshots("a") == []
    assert store.names() == ["a"]


def test_one_that_lacks_points_is_refused(store):
    fill(store)
    made = store.create_snapshot("a")
    path = store.snapshot_file("a", made.name)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM points WHERE key LIKE '%7'")
    connection.commit()
    connection.close()
    path.with_name(f"{path.name}.checksum").unlink()
    with pytest.raises(InvalidRequest, match="should have 51 points and has 46"):
        store.recover("b", made.name, of="a")
    assert store.names() == ["a"]


def test_without_room_there_is_none_and_no_rest_of_one(store, monkeypatch):
    fill(store)

    def full(*_):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(copies, "_copy", full)
    with pytest.raises(StorageFull, match="no room for a snapshot"):
        store.create_snapshot("a")
    assert store.snapshots("a") == []


@pytest.mark.slow
def test_killed_while_it_recovers_the_old_points_are_there(tmp_path):
    store = SqliteStore(tmp_path)
    fill(store, count=10_000)
    made = store.create_snapshot("a")
    store.delete("a", Chosen(ids=range(5000)))
    store.close()
    script = (
        "import sys; from pathlib import Path; from amcl_serve.vectors.store import SqliteStore\n"
        "store = SqliteStore(Path(sys.argv[1])); print('go', flush=True)\n"
        "store.recover('a', sys.argv[2]); print('done', flush=True); store.close()"
    )
    killed = 0
    for delay in (0.01, 0.03, 0.06, 0.1):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), made.name], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        done = child.communicate()[0]
        store = SqliteStore(tmp_path)
        assert store.names() == ["a"]
        assert store.describe("a").points in ({10_001} if done else {5001, 10_001})
        if store.describe("a").points == 10_001:
            store.delete("a", Chosen(ids=range(5000)))
        else:
            killed += 1
        store.close()
    assert killed
