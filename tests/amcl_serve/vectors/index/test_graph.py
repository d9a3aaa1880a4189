from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from amcl_serve.vectors.index import grower
from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.index.graph import GraphIndex
from amcl_serve.vectors.index.live import LiveIndex
from amcl_serve.vectors.index.parts import Parts
from amcl_serve.vectors.index.snapshots import Snapshot, Snapshots
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, IndexChoice, Point, Query

DISTANCES = ("Cosine", "Dot", "Euclid")
SIZE = 16


def clustered(seed, count, distance="Cosine", size=SIZE):
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(40, size))[rng.integers(0, 40, count)] + 0.5 * rng.normal(size=(count, size))
    if distance == "Cosine":
        made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made.astype(np.float32)


def recall(found, exact):
    return len(set(found.rows.tolist()) & set(exact.rows.tolist())) / len(exact.rows)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("share", [None, 0.5, 0.01])
def test_a_graph_finds_nearly_what_is_there_and_its_scores_are_exact(distance, share):
    index = GraphIndex(SIZE, distance)
    vectors = clustered(0, 3000, distance)
    index.add(np.arange(3000), vectors)
    index.remove(np.arange(0, 3000, 7))
    rng = np.random.default_rng(1)
    only = None if share is None else np.flatnonzero(rng.random(3000) < share)
    found = []
    for vector in vectors[rng.integers(0, 3000, 50)]:
        near, exact = index.near(vector, 10, only), index.search(vector, 10, only)
        scores = dict(zip(index.search(vector, 3000).rows.tolist(), index.search(vector, 3000).scores, strict=True))
        assert all(scores[row] == score for row, score in zip(near.rows.tolist(), near.scores, strict=True))
        assert not (near.rows % 7 == 0).any()
        assert only is None or np.isin(near.rows, only).all()
        found.append(recall(near, exact))
    assert np.mean(found) > 0.97
    assert share != 0.01 or np.mean(found) == 1  # looked at one by one


def stored(rows):
    raise AssertionError("it has its vectors")


def made(count, distance="Cosine"):
    live = LiveIndex(1)

    def read():
        parts = Parts(SIZE, distance)
        parts.add(np.arange(count), clustered(0, count, distance))
        return parts, 0

    live.build(read)
    return live


@pytest.fixture
def small(monkeypatch):
    """Graphs of small collections, made when a test says so."""
    for name, value in (("LARGE", 500), ("_REST", 64), ("_WAIT", 1e6)):
        monkeypatch.setattr(grower, name, value)
    keeper = grower.Grower(list, lambda live: None, stored, lambda live: None)
    yield keeper
    keeper._closing.set()


def test_a_graph_is_made_of_a_large_index_and_takes_up_what_is_added(small):
    live = made(499)
    small.tend(live)
    with live.searching() as (index, _):
        assert index.graph is None
    live.follow(Change(1, np.array([3, 4]), np.arange(499, 700), clustered(1, 201)))
    small.tend(live)
    with live.searching() as (index, version):
        assert (version, len(index), index.in_graph, len(index.rest)) == (1, 698, 698, 0)
        everything = index.rows
    live.follow(Change(2, np.array([5, 650]), np.arange(700, 800), clustered(2, 100)))
    with live.searching() as (index, _):
        assert (len(index), index.in_graph, len(index.rest)) == (796, 696, 100)
    small.tend(live)
    with live.searching() as (index, _):
        assert (len(index), len(index.rest) <= 64, index.in_graph) == (796, True, 796 - len(index.rest))
        assert index.rows.tolist() == sorted({*everything.tolist(), *range(700, 800)} - {5, 650})
        vector = clustered(2, 100)[0]
        assert 700 in index.search(vector, 1, fetch=stored).rows
        exact = index.search(vector, 20, exact=True, fetch=stored)
        assert recall(index.search(vector, 20, fetch=stored), exact) > 0.8
        assert index.lacks(np.array([5, 6, 700, 900])).tolist() == [5, 900]


def test_a_graph_of_which_much_is_gone_is_made_anew(small):
    live = made(1000)
    small.tend(live)
    live.follow(Change(1, np.arange(350), np.empty(0, np.int64), np.empty((0, SIZE), np.float32)))
    with live.searching() as (index, _):
        before = index.graph
        assert before.dead == 0.35
    small.tend(live)
    with live.searching() as (index, _):
        assert index.graph is not before
        assert (len(index), index.in_graph, index.graph.dead) == (650, 650, 0)


def test_what_changes_while_a_graph_is_made_is_in_the_index_afterwards(small, monkeypatch):
    live = made(1000)
    changed = threading.Event()
    add = GraphIndex.add

    def slowly(self, rows, vectors):
        add(self, rows, vectors)
        if not changed.is_set():
            changed.set()
            live.follow(Change(1, np.array([2, 990]), np.array([1000, 1001]), clustered(5, 2)))

    monkeypatch.setattr(GraphIndex, "add", slowly)
    small.tend(live)
    with live.searching() as (index, version):
        assert (version, index.in_graph, len(index.rest)) == (1, 998, 2)
        assert index.rows.tolist() == [row for row in range(1002) if row not in (2, 990)]


@pytest.fixture
def eager(monkeypatch):
    """Graphs of small collections, made at once."""
    for name, value in (("LARGE", 500), ("_REST", 64), ("_WAIT", 0.01)):
        monkeypatch.setattr(grower, name, value)


def grown(store, count):
    store.query("a", Query(np.ones(SIZE)))  # makes the index
    until = time.monotonic() + 30
    while store.describe("a").in_graph < count:
        assert time.monotonic() < until
        time.sleep(0.02)
    return store


def ids(store, vector, **options):
    return [hit.record.id for hit in store.query("a", Query(vector, limit=10, **options))]


@pytest.fixture
def large(eager, tmp_path):
    """A folder with a store of 900 points and their kept graph; the store is closed."""
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Cosine")
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(clustered(0, 900))])
    grown(store, 836).close()
    return tmp_path


def test_a_graph_is_kept_between_runs(large, monkeypatch):
    made = []
    monkeypatch.setattr(grower.Grower, "_make", lambda self, live: made.append(live))
    vectors = clustered(0, 900)
    for turn in range(3):
        store = SqliteStore(large)
        store.query("a", Query(vectors[0]))
        assert store.describe("a").in_graph >= 700
        near = [recall_of(ids(store, v), ids(store, v, exact=True)) for v in vectors[300:340]]
        assert np.mean(near) > 0.95
        alive = {*range(150 * turn // 2, 900)} | {1000 + each for each in range(50 * turn)}
        assert store.describe("a").points == len(alive)
        assert {*ids(store, vectors[10], exact=True)} <= alive
        assert {*ids(store, vectors[10])} <= alive
        store.delete("a", Chosen(ids=range(75 * turn, 75 * turn + 75)))
        new = clustered(turn + 1, 50)
        store.upsert("a", [Point(1000 + 50 * turn + i, v, {}) for i, v in enumerate(new)])
        assert ids(store, new[3])[0] == 1000 + 50 * turn + 3
        store.close()
    assert made == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "another's"])
def test_a_kept_graph_that_is_damaged_is_made_anew(large, damage, caplog):
    (path,) = (large / "graphs").iterdir()
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:-1000])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    else:
        Snapshots(path.parent).save(
            1, SIZE, "Euclid", IndexChoice(), Snapshot(np.arange(5), np.frombuffer(b"x" * 50, np.uint8))
        )
    store = SqliteStore(large)
    vectors = clustered(0, 900)
    assert ids(store, vectors[5])[0] == 5
    grown(store, 836)
    assert np.mean([recall_of(ids(store, v), ids(store, v, exact=True)) for v in vectors[:40]]) > 0.95
    store.close()
    assert len(path.read_bytes()) > 900 * 8


def test_a_dropped_collection_s_graph_is_gone(large):
    store = SqliteStore(large)
    store.drop("a")
    assert list((large / "graphs").iterdir()) == []
    store.close()


def recall_of(near, exact):
    return len(set(near) & set(exact)) / len(exact)


def test_a_store_searches_by_its_graph_and_exactly_when_asked(tmp_path, eager):
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Cosine")
    vectors = clustered(0, 900)
    store.upsert("a", [Point(i, v, {"even": i % 2 == 0}) for i, v in enumerate(vectors)])
    grown(store, 800)
    where = {"must": [{"key": "even", "match": {"value": True}}]}
    agreed = []
    for vector in vectors[:40]:
        for filter_ in (None, where):
            near = [hit.record.id for hit in store.query("a", Query(vector, limit=10, filter=filter_))]
            exact = [hit.record.id for hit in store.query("a", Query(vector, limit=10, filter=filter_, exact=True))]
            agreed.append(len(set(near) & set(exact)) / 10)
    assert np.mean(agreed) > 0.97
    store.delete("a", Chosen(ids=range(100)))
    assert all(hit.record.id >= 100 for hit in store.query("a", Query(vectors[5], limit=50)))
    store.close()
