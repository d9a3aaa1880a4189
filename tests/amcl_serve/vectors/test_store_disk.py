from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.errors import (
    CollectionNotFound,
    NotReady,
    StorageError,
    StorageFull,
)
from amcl_serve.vectors.sqlite.folder import DATABASE_FILE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point, Query
from tests.amcl_serve.vectors.points import A_UUID, TOP


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


def test_a_full_disk_acknowledges_nothing(store):
    store.create("a", 512, "Dot")
    store.upsert("a", [Point(1, np.ones(512), {})])
    store.query("a", Query(np.ones(512)))
    write = store._database.writer.write
    (pages,) = write(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StorageFull, match="nothing of this request"):
        store.upsert("a", [Point(i, np.ones(512), {}) for i in range(100)])
    assert store.count("a") == 1
    assert [hit.record.id for hit in store.query("a", Query(np.ones(512)))] == [1]
    write(lambda connection: connection.execute("PRAGMA max_page_count = 100000"))
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
    with pytest.raises(StorageError, match=r"schema version 7.*reads up to 3"):
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
                store.delete("a", Chosen(ids=ids[:2]))
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


@pytest.fixture(params=["3m", "12m"])
def small_disk(tmp_path, request):
    """A small file system, and whatever is opened on it is closed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={request.param}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount")
    stores = []

    def opened():
        stores.append(SqliteStore(folder))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()
    subprocess.run(["umount", folder], check=True)


def fill(store, written=0):
    """Write until the disk is full; the next id."""
    while True:
        try:
            store.upsert("a", [Point(written + i, np.full(512, 1.0), {}) for i in range(50)])
        except StorageFull:
            return written
        written += 50


def test_on_a_full_disk_deleting_works_and_makes_room(small_disk):
    store = small_disk()
    store.create("a", 512, "Dot")
    written = fill(store)
    with pytest.raises(StorageFull, match="deleting points or collections still works"):
        store.upsert("a", [Point(i, np.full(512, 1.0), {}) for i in range(written, written + 50)])
    for _ in range(3):
        before = store.count("a")
        store.delete("a", Chosen(ids=range(written - 40, written)))
        assert store.count("a") == before - 40
        store.upsert("a", [Point(written - 40, np.full(512, 2.0), {})])
        written = fill(store, written - 40)
    store.delete("a", Chosen(where={"must": [{"has_id": list(range(30))}]}))
    store.close()
    store = small_disk()  # opens, too
    assert store.drop("a")
    assert store.names() == []
    store.create("a", 512, "Dot")
    assert store.count("a") == 0
    fill(store)


def test_a_drop_that_was_killed_is_finished_when_the_store_opens(tmp_path, monkeypatch):
    store = SqliteStore(tmp_path)
    for name in "ab":
        store.create(name, 2, "Dot")
        store.upsert(name, [Point(i, [1, 2], {}) for i in range(5)])
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "_purge", lambda self: None)
        assert store.drop("a")
        assert store.names() == ["b"]
        with pytest.raises(CollectionNotFound):
            store.count("a")
        store.create("a", 2, "Dot")
        assert store.count("a") == 0
    store.close()
    connection = sqlite3.connect(tmp_path / DATABASE_FILE)
    assert connection.execute("SELECT count(*) FROM points").fetchone() == (10,)
    connection.close()
    store = SqliteStore(tmp_path)
    store.close()
    connection = sqlite3.connect(tmp_path / DATABASE_FILE)
    assert connection.execute("SELECT count(*) FROM points").fetchone() == (5,)
    assert connection.execute("SELECT count(*) FROM collections").fetchone() == (2,)
    connection.close()
