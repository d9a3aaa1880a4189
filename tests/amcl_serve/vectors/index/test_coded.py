from __future__ import annotations

import contextlib
import sqlite3
import time

import numpy as np
import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.index import coded, grower
from amcl_serve.vectors.index.coded import CodedIndex
from amcl_serve.vectors.index.exact import ExactIndex
from amcl_serve.vectors.index.parts import Parts
from amcl_serve.vectors.index.snapshots import Snapshot, Snapshots
from amcl_serve.vectors.sqlite.folder import DATABASE_FILE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, IndexChoice, Point, Query
from tests.amcl_serve.vectors.index.test_graph import DISTANCES, clustered, recall, recall_of

SIZE = 16
CHOICES = [
    IndexChoice("auto", "float16"),
    IndexChoice("hnsw", "int8"),
    IndexChoice("ivf", "float32"),
    IndexChoice("ivf", "float16"),
    IndexChoice("ivf", "int8"),
]
each_choice = pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: f"{choice.kind}-{choice.precision}")


@each_choice
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("share", [None, 0.5, 0.05, 0.004])
def test_codes_find_nearly_what_is_there_and_scores_are_exact(choice, distance, share, monkeypatch):
    monkeypatch.setattr(coded, "_READ", 20)
    vectors = clustered(0, 3000, distance)
    truth, index = ExactIndex(SIZE, distance), CodedIndex(SIZE, distance, choice)
    index.train(vectors[:2000], 3000)
    for part in (slice(0, 1000), slice(1000, 3000)):
        index.add(np.arange(3000)[part], vectors[part])
    truth.add(np.arange(3000), vectors)
    for each in (truth, index):
        each.remove(np.arange(0, 3000, 7))
    rng = np.random.default_rng(1)
    only = None if share is None else np.flatnonzero(rng.random(3000) < share)
    found = []

    def fetch(rows):
        return truth_rows(rows, vectors)

    for vector in vectors[rng.integers(0, 3000, 40)]:
        near = index.best(vector, 10, only, exact=False, width=None, fetch=fetch)
        exact = truth.search(vector, 10, only)
        scores = dict(zip(truth.search(vector, 3000).rows.tolist(), truth.search(vector, 3000).scores, strict=True))
        assert all(scores[row] == score for row, score in zip(near.rows.tolist(), near.scores, strict=True))
        assert np.array_equal(near.vectors, vectors[near.rows])
        assert only is None or np.isin(near.rows, only).all()
        found.append(recall(near, exact))
        same = index.best(vector, 10, only, exact=True, width=None, fetch=fetch)
        assert sorted(same.rows.tolist()) == sorted(exact.rows.tolist())
    assert np.mean(found) > 0.93
    assert share != 0.004 or np.mean(found) == 1  # their vectors are read


def truth_rows(rows, vectors):
    assert (np.diff(rows) > 0).all()
    return rows, vectors[rows]


def test_codes_take_less_memory():
    vectors = clustered(0, 3000, size=64)
    sizes = {}
    for precision in ("float16", "int8"):
        index = CodedIndex(64, "Cosine", IndexChoice("ivf", precision))
        index.train(vectors, 3000)
        index.add(np.arange(3000), vectors)
        sizes[precision] = len(index.links()[1])
    assert sizes["float16"] < 0.65 * vectors.nbytes
    assert sizes["int8"] < 0.4 * vectors.nbytes


@pytest.fixture
def eager(monkeypatch):
    """Indexes of small collections, made at once."""
    for name, value in (("LARGE", 500), ("_REST", 64), ("_WAIT", 0.01)):
        monkeypatch.setattr(grower, name, value)
    monkeypatch.setattr(coded, "_READ", 20)


def grown(store, count):
    store.query("a", Query(np.ones(SIZE)))  # makes the index
    until = time.monotonic() + 30
    while store.describe("a").in_graph < count:
        assert time.monotonic() < until
        time.sleep(0.02)
    return store


def ids(store, vector, **options):
    return [hit.record.id for hit in store.query("a", Query(vector, limit=10, **options))]


@each_choice
def test_a_store_searches_by_codes_and_exactly_when_asked_and_keeps_them(choice, eager, tmp_path, monkeypatch):
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Cosine", index=choice)
    assert store.describe("a").used == "exact"
    vectors = clustered(0, 900)
    store.upsert("a", [Point(i, v, {"even": i % 2 == 0}) for i, v in enumerate(vectors)])
    grown(store, 836)
    info = store.describe("a")
    assert (info.index, info.used) == (choice, "ivf" if choice.kind == "ivf" else "hnsw")
    where = {"must": [{"key": "even", "match": {"value": True}}]}
    agreed = [
        recall_of(ids(store, v, filter=filter_), ids(store, v, filter=filter_, exact=True))
        for v in vectors[:40]
        for filter_ in (None, where)
    ]
    assert np.mean(agreed) > 0.93
    store.close()

    made = []
    monkeypatch.setattr(grower.Grower, "_make", lambda self, live: made.append(live))
    monkeypatch.setattr(Parts, "add", lambda *_: pytest.fail("the vectors were read"))
    store = SqliteStore(tmp_path)
    assert ids(store, vectors[5])[0] == 5
    assert store.describe("a").in_graph >= 836
    monkeypatch.undo()
    store.delete("a", Chosen(ids=range(100)))
    store.upsert("a", [Point(2000, vectors[5], {})])
    assert ids(store, vectors[5])[0] == 2000
    assert not {*range(100)} & {*ids(store, vectors[7])}
    store.close()
    store = SqliteStore(tmp_path)  # what has changed since is known when it is opened again
    assert ids(store, vectors[5])[0] == 2000
    assert not {*range(100)} & {*ids(store, vectors[7]), *ids(store, vectors[7], exact=True)}
    store.close()
    assert made == []


@pytest.mark.parametrize("damage", ["cut", "gone", "another's"])
def test_kept_codes_that_are_damaged_are_made_anew(eager, tmp_path, damage):
    choice = IndexChoice("ivf", "int8")
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Cosine", index=choice)
    vectors = clustered(0, 900)
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(vectors)])
    grown(store, 836).close()
    (path,) = (tmp_path / "graphs").iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "gone":
        path.unlink()
    else:
        other = Snapshot(np.arange(5), np.frombuffer(b"x" * 50, np.uint8))
        Snapshots(path.parent).save(1, SIZE, "Cosine", choice, other)
    store = SqliteStore(tmp_path)
    assert ids(store, vectors[5])[0] == 5
    grown(store, 836).close()


def test_lists_are_made_anew_when_there_are_many_more_vectors(eager, tmp_path):
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Cosine", index=IndexChoice("ivf", "int8"))
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(clustered(0, 600))])
    grown(store, 536)
    (live,) = store._search._made()

    def number_of_lists():
        with live.searching() as (index, _):
            return index.graph._index.nlist

    before = number_of_lists()
    for start in range(600, 6000, 900):
        rows = range(start, start + 900)
        store.upsert("a", [Point(i, v, {}) for i, v in zip(rows, clustered(start, 900), strict=True)])
    until = time.monotonic() + 30
    while number_of_lists() == before:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert ids(store, clustered(0, 600)[5])[0] == 5
    store.close()


def test_an_exact_index_stays_one(eager, tmp_path):
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Cosine", index=IndexChoice("exact"))
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(clustered(0, 900))])
    store.query("a", Query(np.ones(SIZE)))
    time.sleep(0.2)
    assert store.describe("a").used == "exact"
    with pytest.raises(InvalidRequest, match="an exact search has float32"):
        store.create("b", SIZE, "Cosine", index=IndexChoice("exact", "int8"))
    store.close()


def test_a_store_of_schema_2_is_brought_up_to_date(tmp_path):
    store = SqliteStore(tmp_path)
    store.create("a", SIZE, "Dot")
    store.upsert("a", [Point(7, np.ones(SIZE), {"n": 1})])
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as connection:
        for column in ("kind", "precision", "thumbnails", "heads"):
            connection.execute(f"ALTER TABLE collections DROP COLUMN {column}")
        for table in ("thumbnails", "heads"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 2")
    store = SqliteStore(tmp_path)
    assert store.describe("a").index == IndexChoice()
    assert store.get("a", 7).payload == {"n": 1}
    store.create("b", SIZE, "Dot", index=IndexChoice("ivf", "int8"))
    assert store.describe("b").index == IndexChoice("ivf", "int8")
    store.close()
