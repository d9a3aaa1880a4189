"""The same scenario through the store and through brute force in NumPy, ties included."""

from __future__ import annotations

import threading
from uuid import UUID

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amcl_serve.errors import CollectionNotFound, InvalidRequest, NotReady, PointNotFound
from amcl_serve.vectors.index.exact import ExactIndex
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Examples, Point, Query

DISTANCES = ("Cosine", "Dot", "Euclid")


def brute_force(points, query, distance, *, limit, offset=0, threshold=None, keep=lambda point: True, without=None):
    """(id, score) of the best points: float64 sums rounded to float32, ties by id, integers before UUIDs."""

    def prepared(vector):
        wide = np.asarray(vector, np.float64)
        return (wide / np.linalg.norm(wide) if distance == "Cosine" else wide).astype(np.float32).astype(np.float64)

    target = prepared(query)
    ranked = []
    for point in points:
        if keep(point) and point.id != without:
            stored = prepared(point.vector)
            raw = np.sqrt(np.square(stored - target).sum()) if distance == "Euclid" else (stored * target).sum()
            score = np.float32(raw)
            ranked.append((score if distance == "Euclid" else -score, isinstance(point.id, UUID), point.id, score))
    ranked.sort(key=lambda row: row[:3])
    found = [(identity, float(score)) for _, _, identity, score in ranked[offset : offset + limit]]
    if threshold is None:
        return found
    bound = np.float32(threshold)
    return [(i, s) for i, s in found if (s <= bound if distance == "Euclid" else s >= bound)]


def answer(store, query):
    return [(hit.record.id, float(hit.score)) for hit in store.query("a", query)]


@pytest.fixture(params=DISTANCES)
def distance(request):
    return request.param


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path)
    yield store
    store.close()


@pytest.mark.parametrize("size", [1, 3, 64, 515])
def test_agrees_with_brute_force_through_writes_and_deletes(store, distance, size):
    rng = np.random.default_rng(size)
    store.create("a", size, distance)
    points: dict[object, Point] = {}
    for step in range(6):
        # Half of the vectors are small integers: many exact ties, in Cosine also between parallel vectors.
        vectors = np.concatenate([rng.integers(1, 3, (20, size)), rng.normal(size=(20, size))])
        ids = [int(i) if i % 3 else UUID(int=int(i)) for i in rng.choice(400, len(vectors), replace=False)]
        written = [Point(i, v, {"g": int(n % 4)}) for n, (i, v) in enumerate(zip(ids, vectors, strict=True))]
        store.upsert("a", written)
        points |= {point.id: point for point in written}
        gone = list(points)[::7]
        store.delete("a", Chosen(ids=gone))
        for identity in gone:
            del points[identity]
        query = vectors[int(rng.integers(len(vectors)))]
        everything = list(points.values())
        for limit, offset in ((1, 0), (5, 0), (7, 9), (1000, 0), (10, 500)):
            wanted = brute_force(everything, query, distance, limit=limit, offset=offset)
            assert answer(store, Query(query, limit=limit, offset=offset)) == wanted
        where = {"must": [{"key": "g", "match": {"any": [1, 2]}}]}
        wanted = brute_force(everything, query, distance, limit=8, keep=lambda p: p.payload["g"] in (1, 2))
        assert answer(store, Query(query, limit=8, filter=where)) == wanted
        threshold = brute_force(everything, query, distance, limit=20)[-1][1]
        wanted = brute_force(everything, query, distance, limit=1000, threshold=threshold)
        assert answer(store, Query(query, limit=1000, score_threshold=threshold)) == wanted
        assert len(wanted) >= 20
        me = everything[step]
        wanted = brute_force(everything, me.vector, distance, limit=6, without=me.id)
        assert answer(store, Query(me.id, limit=6)) == wanted
        assert me.id not in dict(answer(store, Query(me.id, limit=1000)))


VECTORS = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(vectors=st.lists(VECTORS, min_size=1, max_size=40), query=VECTORS, limit=st.integers(1, 12), data=st.data())
def test_ties_go_by_id(tmp_path_factory, vectors, query, limit, data):
    distance = data.draw(st.sampled_from(DISTANCES))
    ids = data.draw(st.permutations(range(len(vectors))))
    points = [Point(i, vector, {}) for i, vector in zip(ids, vectors, strict=True)]
    store = SqliteStore(tmp_path_factory.mktemp("ties"))
    try:
        store.create("a", 3, distance)
        store.upsert("a", points)
        assert answer(store, Query(query, limit=limit)) == brute_force(points, query, distance, limit=limit)
    finally:
        store.close()


def test_the_same_after_reopening(tmp_path, distance):
    rng = np.random.default_rng(0)
    store = SqliteStore(tmp_path)
    store.create("a", 16, distance)
    store.query("a", Query(np.ones(16)))  # builds the index, which then follows the writes
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(rng.normal(size=(100, 16)))])
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(rng.normal(size=(50, 16)))])
    store.delete("a", Chosen(ids=range(40, 60)))
    query = Query(rng.normal(size=16), limit=100)
    before = answer(store, query)
    assert len(before) == 80
    store.close()
    store = SqliteStore(tmp_path)
    assert answer(store, query) == before
    store.close()


def test_equal_vectors_all_tie(store, distance):
    store.create("a", 512, distance)
    vector = np.random.default_rng(0).normal(size=512)
    store.upsert("a", [Point(i, vector, {}) for i in reversed(range(300))])
    assert [identity for identity, _ in answer(store, Query(vector, limit=5, offset=100))] == list(range(100, 105))


def test_scores(store, distance):
    store.create("a", 2, distance)
    store.upsert("a", [Point(1, [3, 4], {}), Point(2, [-3, -4], {})])
    best, worst = {"Cosine": (1, -1), "Dot": (25, -25), "Euclid": (0, 10)}[distance]
    assert answer(store, Query([3, 4])) == [(1, pytest.approx(best)), (2, pytest.approx(worst))]
    assert [i for i, _ in answer(store, Query([3, 4], score_threshold=best * 0.5 + 0.5))] == [1]


def test_an_empty_collection_and_a_filter_without_points(store, distance):
    store.create("a", 2, distance)
    assert answer(store, Query([1, 0])) == []
    store.upsert("a", [Point(1, [1, 0], {})])
    assert answer(store, Query([1, 0], filter={"must": [{"has_id": []}]})) == []
    assert answer(store, Query(1)) == []
    assert answer(store, Query([1, 0], offset=5)) == []


def test_an_index_that_cannot_follow_is_built_anew(store, distance, monkeypatch, caplog):
    store.create("a", 2, distance)
    store.query("a", Query([1, 0]))

    def fail(self, rows, vectors):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(ExactIndex, "add", fail)
        store.upsert("a", [Point(1, [1, 0], {})])
    assert "could not follow" in caplog.text
    assert [identity for identity, _ in answer(store, Query([1, 0]))] == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_search_wakes_as_many_threads_as_it_may(tmp_path, threads):
    store = SqliteStore(tmp_path, search_threads=threads)
    store.create("a", 4, "Dot")
    store.upsert("a", [Point(1, [1, 2, 3, 4], {})])
    found = []

    def search():
        store.query("a", Query([1, 0, 0, 0]))
        found.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert found == [threads]
    store.close()


def test_like_these_and_not_like_those(store, distance):
    rng = np.random.default_rng(3)
    points = [Point(i, v, {}) for i, v in enumerate(rng.normal(size=(60, 8)))]
    store.create("a", 8, distance)
    store.upsert("a", points)
    stored = np.stack([store.get("a", i).vector for i in range(60)]).astype(np.float64)
    extra = rng.normal(size=8)
    unit = extra / np.linalg.norm(extra) if distance == "Cosine" else extra
    liked = np.stack([stored[4], unit.astype(np.float32)]).mean(axis=0)
    wanted = liked + (liked - stored[[9, 10]].mean(axis=0))
    found = [identity for identity, _ in answer(store, Query(Examples([4, extra], [9, 10]), limit=20))]
    rest = [point for point in points if point.id not in (4, 9, 10)]
    assert found == [identity for identity, _ in brute_force(rest, wanted, distance, limit=20)]
    alone = [identity for identity, _ in answer(store, Query(Examples([4]), limit=5))]
    assert alone == [identity for identity, _ in answer(store, Query(4, limit=5))]
    with pytest.raises(PointNotFound):
        store.query("a", Query(Examples([4], [99])))
    wrong = {"at least one positive": Examples([]), r"negative\[0\]: .*2 components": Examples([1], [[1, 2]])}
    for says, examples in wrong.items():
        with pytest.raises(InvalidRequest, match=says):
            store.query("a", Query(examples))


def test_memory_answers_as_the_file_does(tmp_path, distance):
    rng = np.random.default_rng(5)
    store = SqliteStore(tmp_path)
    store.create("a", 4, distance)
    queries = rng.integers(1, 3, (5, 4))

    def agree():
        for vector in queries:
            for extra in ({}, {"limit": 3, "offset": 2}, {"score_threshold": 2.0}, {"exact": True}):
                asked = Query(vector, **{"limit": 8, **extra})
                wanted = store._search._looked_up("a", asked, None)
                found = store._search._remembered("a", asked, None)
                assert [(*hit.record[:2], hit.score, hit.record.payload_json) for hit in found] == [
                    (*hit.record[:2], hit.score, hit.record.payload_json) for hit in wanted
                ]
                assert all(np.array_equal(a.record.vector, b.record.vector) for a, b in zip(found, wanted, strict=True))
                bare = store.query("a", Query(vector, payload=False, **{"limit": 8, **extra}))
                assert [(hit.record.id, hit.record.version) for hit in bare] == [
                    (hit.record.id, hit.record.version) for hit in wanted
                ]

    store.query("a", Query(queries[0]))
    for step in range(4):
        ids = [int(i) if i % 3 else UUID(int=int(i)) for i in rng.choice(60, 30, replace=False)]
        vectors = rng.integers(1, 3, (len(ids), 4))
        store.upsert("a", [Point(i, v, {"step": step}) for i, v in zip(ids, vectors, strict=True)])
        agree()
        store.delete("a", Chosen(ids=ids[:9]))
        store.set_payload("a", Chosen(ids=ids[9:15]), {"more": step})
        agree()
    store.close()
    store = SqliteStore(tmp_path)
    store.query("a", Query(queries[0]))
    agree()
    store.drop("a")
    with pytest.raises(CollectionNotFound):
        store.query("a", Query(queries[0], payload=False))
    store.create("a", 4, distance)
    assert store.query("a", Query(queries[0], payload=False)) == []
    store.close()
    with pytest.raises(NotReady):
        store.query("a", Query(queries[0], payload=False))


def test_memory_says_nothing_while_a_write_is_published(store):
    """Whoever reads the file sees the write already."""
    store.create("a", 2, "Dot")
    store.upsert("a", [Point(1, [1, 0], {})])
    asked = Query([1, 0], payload=False)
    store.query("a", asked)
    assert store._search._remembered("a", asked, None) is not None
    with store._database.writer.published:
        assert store._search._remembered("a", asked, None) is None
        assert [hit.record.id for hit in store.query("a", asked)] == [1]
