from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from amcl_serve.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidRequest,
    NotReady,
    PointNotFound,
    StorageError,
    StorageFull,
)
from amcl_serve.vectors.database import DATABASE_FILE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import ModelRef, Point, Query

TOP = (1 << 64) - 1
A_UUID = UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "data")
    yield store
    store.close()


def test_points_survive_reopening(tmp_path):
    with_points = SqliteStore(tmp_path)
    with_points.create("a", 2, "Dot")
    with_points.upsert("a", [Point(TOP, [1, 2], {"name": "é", "n": [1, {"x": None}]}), Point(A_UUID, [3, 4], {})])
    with_points.close()
    store = SqliteStore(tmp_path)
    record = store.get("a", TOP)
    assert (record.id, record.version, record.payload) == (TOP, 1, {"name": "é", "n": [1, {"x": None}]})
    assert record.vector.tolist() == [1, 2]
    assert store.get("a", A_UUID).vector.tolist() == [3, 4]
    assert store.describe("a").points == 2
    store.close()


def test_every_commit_is_synced(store):
    connection = store._database.read()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_upsert_replaces_and_the_last_of_equal_ids_stays(store):
    store.create("a", 2, "Euclid")
    store.upsert("a", [Point(1, [0, 0], {"v": 1}), Point(2, [9, 9], {})])
    assert [hit.record.id for hit in store.query("a", Query([0, 0]))] == [1, 2]  # the index exists from here on
    assert store.upsert("a", [Point(1, [5, 5], {"v": 2}), Point(1, [8, 8], {"v": 3})]) == 2
    hits = store.query("a", Query([8, 8]))
    assert [(hit.record.id, float(hit.score)) for hit in hits] == [(1, 0.0), (2, np.float32(2**0.5))]
    assert (hits[0].record.payload, hits[0].record.version, hits[1].record.version) == ({"v": 3}, 2, 1)
    assert store.count("a") == 2


def test_a_refused_request_changes_nothing(store):
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(1, [1, 0], {})])
    with pytest.raises(InvalidRequest, match=r"points\[1\].vector"):
        store.upsert("a", [Point(2, [0, 1], {}), Point(3, [0, 0], {})])
    assert store.count("a") == 1
    assert store.get("a", 1).version == 1
    assert store.upsert("a", [Point(2, [0, 1], {})]) == 2


def test_delete_by_id_by_filter_and_by_both(store):
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(i, [i], {"odd": bool(i % 2)}) for i in range(10)])
    assert len(store.query("a", Query([1]))) == 10
    store.delete("a", ids=[0, 2, 77])
    store.delete("a", where={"must": [{"key": "odd", "match": {"value": True}}]})
    assert [record.id for record in store.scroll("a", limit=10).records] == [4, 6, 8]
    assert [hit.record.id for hit in store.query("a", Query([1]))] == [8, 6, 4]
    store.delete("a", ids=[4], where={"must": [{"has_id": [6]}]})
    assert [hit.record.id for hit in store.query("a", Query([1]))] == [8]
    store.delete("a", where={})  # an empty filter matches every point, as Qdrant's does
    assert store.query("a", Query([1])) == []


def test_scroll_pages_in_order_of_ids(store):
    store.create("a", 1, "Dot")
    ids = [3, 1 << 63, TOP, 0, 10, UUID(int=1), A_UUID]
    store.upsert("a", [Point(i, [1], {}) for i in reversed(ids)])
    seen, start = [], None
    while True:
        page = store.scroll("a", limit=2, start=start)
        seen += [record.id for record in page.records]
        start = page.next_offset
        if start is None:
            break
    assert seen == [0, 3, 10, 1 << 63, TOP, UUID(int=1), A_UUID]


def test_collections_are_separate_and_dropped_whole(store):
    for name in ("a", "b"):
        store.create(name, 1, "Dot")
        store.upsert(name, [Point(1, [1], {"in": name})])
        store.query(name, Query([1]))
    assert store.drop("a") is True
    assert store.drop("a") is False
    assert store.names() == ["b"]
    assert store.get("b", 1).payload == {"in": "b"}
    store.create("a", 3, "Cosine")
    assert store.query("a", Query([1, 0, 0])) == []
    (left,) = store._database.read().execute("SELECT count(*) FROM points").fetchone()
    assert left == 1


def test_missing_things(store):
    store.create("a", 1, "Dot")
    with pytest.raises(CollectionExists):
        store.create("a", 1, "Dot")
    for call in (store.describe, store.count, lambda n: store.query(n, Query([1])), lambda n: store.delete(n, ids=[1])):
        with pytest.raises(CollectionNotFound, match="'nope'"):
            call("nope")
    with pytest.raises(PointNotFound):
        store.get("a", 5)
    with pytest.raises(PointNotFound):
        store.query("a", Query(5))


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "a/b", "a b", "ä", "a\n", "a'; DROP TABLE points; --", "a" * 129, "../a"]
)
def test_bad_names(store, name):
    with pytest.raises(InvalidRequest, match="name"):
        store.create(name, 1, "Dot")


def test_names_with_sql_in_them_find_nothing(store):
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(1, [1], {})])
    for name in ("a' OR '1'='1", "a'; DROP TABLE points; --", "%", "a\0"):
        assert store.drop(name) is False
        with pytest.raises(CollectionNotFound):
            store.describe(name)
    assert store.count("a") == 1


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        ([1, float("nan")], "NaN"),
        ([1, float("inf")], "infinity"),
        ([1, 1e300], "length"),
        ([1], "1 components.*size is 2"),
        ([1, 2, 3], "3 components"),
        ([0, 0], "zeros"),
    ],
)
def test_bad_vectors(store, vector, says):
    store.create("a", 2, "Cosine")
    with pytest.raises(InvalidRequest, match=rf"points\[0\]\.vector: .*{says}"):
        store.upsert("a", [Point(1, vector, {})])
    with pytest.raises(InvalidRequest, match=rf"query: .*{says}"):
        store.query("a", Query(vector))


def test_tiny_and_large_vectors_have_a_direction(store):
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(1, [1e-200, 0], {}), Point(2, [3e17, 4e17], {})])
    assert store.get("a", 1).vector.tolist() == [1, 0]
    assert store.get("a", 2).vector.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"a": "x" * 65536}, "65544 bytes; at most 65536"),
        ({"a\0": 1}, "NUL"),
        ({"a": ["\0"]}, "NUL"),
        ({"a": float("nan")}, "NaN"),
        ({"a": "\ud800"}, "Unicode"),
        ({"a": 1 << 70}, "64-bit"),
    ],
)
def test_bad_payloads(store, payload, says):
    store.create("a", 1, "Dot")
    with pytest.raises(InvalidRequest, match=rf"points\[0\]\.payload: .*{says}"):
        store.upsert("a", [Point(1, [1], payload)])


def test_payload_depth_is_bounded(store):
    store.create("a", 1, "Dot")
    deep: object = 1
    for _ in range(30):
        deep = [deep]
    store.upsert("a", [Point(1, [1], {"a": deep})])
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidRequest, match="deeper than 32"):
        store.upsert("a", [Point(1, [1], {"a": deep})])


def test_limits_of_a_query(store):
    store.create("a", 1, "Dot")
    for query in (
        Query([1], limit=0),
        Query([1], limit=1001),
        Query([1], offset=-1),
        Query([1], limit=10, offset=9991),
    ):
        with pytest.raises(InvalidRequest, match="limit"):
            store.query("a", query)


def test_another_models_images_are_refused(store):
    mine, other = ModelRef("mine", "sha256:11", 2), ModelRef("other", "sha256:22", 2)
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(1, [1, 0], {})])
    assert store.describe("a").model is None
    store.upsert("a", [Point(2, [1, 0], {})], model=mine)
    assert store.describe("a").model == mine
    with pytest.raises(CollectionMismatch, match=r"mine \(sha256:11\).*other \(sha256:22\)"):
        store.upsert("a", [Point(3, [1, 0], {})], model=other)
    store.upsert("a", [Point(4, [1, 0], {})], model=ModelRef("renamed", "sha256:11", 2))
    with pytest.raises(CollectionMismatch, match=r"size 2.*size 3"):
        store.upsert("a", [Point(3, [1, 0], {})], model=ModelRef("mine", "sha256:11", 3))
    assert store.count("a") == 3


def test_a_full_disk_acknowledges_nothing(store):
    store.create("a", 512, "Dot")
    store.upsert("a", [Point(1, np.ones(512), {})])
    store.query("a", Query(np.ones(512)))
    connection = store._database.read()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageFull, match="nothing of this request"):
        store.upsert("a", [Point(i, np.ones(512), {}) for i in range(100)])
    assert store.count("a") == 1
    assert [hit.record.id for hit in store.query("a", Query(np.ones(512)))] == [1]
    connection.execute("PRAGMA max_page_count = 100000")
    store.upsert("a", [Point(2, np.ones(512), {})])
    assert store.count("a") == 2


def test_a_write_that_the_system_refuses_is_a_full_disk(tmp_path):
    store = SqliteStore(tmp_path)
    store.create("a", 512, "Dot")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # EFBIG; Python ignores SIGXFSZ
    try:
        with pytest.raises(StorageFull):
            store.upsert("a", [Point(i, np.ones(512), {}) for i in range(200)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.count("a") == 0
    store.upsert("a", [Point(1, np.ones(512), {})])
    store.close()
    store = SqliteStore(tmp_path)
    assert store.count("a") == 1
    store.close()


def test_a_second_opening_is_refused_and_a_dead_process_leaves_no_lock(tmp_path):
    script = (
        "import sys, os, signal; from pathlib import Path; from amcl_serve.vectors.store import SqliteStore\n"
        "store = SqliteStore(Path(sys.argv[1])); store.create('a', 1, 'Dot'); print(os.getpid(), flush=True)\n"
        "signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        pid = child.stdout.readline().strip()
        with pytest.raises(StorageError, match=rf"in use by another server \(process {pid}\).*stop that one or choose"):
            SqliteStore(tmp_path)
    finally:
        child.kill()
        child.wait()
    store = SqliteStore(tmp_path)
    assert store.names() == ["a"]
    with pytest.raises(StorageError, match="in use"):
        SqliteStore(tmp_path)
    store.close()
    SqliteStore(tmp_path).close()


def test_unusable_folders_and_files(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be used"):
        SqliteStore(tmp_path / "file" / "data")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DATABASE_FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match="choose another data_dir"):
        SqliteStore(tmp_path / "other")
    (tmp_path / "newer").mkdir()
    newer = sqlite3.connect(tmp_path / "newer" / DATABASE_FILE)
    newer.execute("PRAGMA user_version = 7")
    newer.close()
    with pytest.raises(StorageError, match=r"schema version 7.*reads 1"):
        SqliteStore(tmp_path / "newer")
    Path(tmp_path / "newer" / DATABASE_FILE).unlink()
    SqliteStore(tmp_path / "newer").close()  # the refusal let go of the folder


def test_closed(store):
    store.close()
    store.close()
    with pytest.raises(NotReady):
        store.names()


def test_threads_see_every_write_that_returned(store):
    store.create("a", 4, "Cosine")
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for step in range(15):
                ids = [seed * 1000 + step * 10 + i for i in range(5)]
                vectors = rng.normal(size=(5, 4))
                store.upsert("a", [Point(i, v, {"by": seed}) for i, v in zip(ids, vectors, strict=True)])
                hits = store.query("a", Query(vectors[0], limit=1000))
                assert set(ids) <= {hit.record.id for hit in hits}
                store.delete("a", ids=ids[:2])
                assert not set(ids[:2]) & {hit.record.id for hit in store.query("a", Query(vectors[0], limit=1000))}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert store.count("a") == 4 * 15 * 3
