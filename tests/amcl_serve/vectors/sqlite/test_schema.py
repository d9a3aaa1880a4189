"""Files of older versions, written here as their versions wrote them."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from amcl_serve.errors import StorageError
from amcl_serve.vectors.sqlite.folder import DATABASE_FILE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, ModelRef, Query

FIRST = """
BEGIN;
CREATE TABLE collections (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    distance TEXT NOT NULL CHECK (distance IN ('Cosine', 'Dot', 'Euclid')),
    model TEXT,
    digest TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    CHECK ((model IS NULL) = (digest IS NULL))
);
CREATE TABLE points (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (collection, key)
);
PRAGMA user_version = 1;
COMMIT;
"""


def vectors(count, size):
    return np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)


def write_first(folder, count=300, size=64):
    """A store of schema 1, its log not moved into the file: the process that wrote it was killed."""
    folder.mkdir(exist_ok=True)
    script = (
        "import os, signal, sqlite3, sys; import numpy as np\n"
        "from tests.amcl_serve.vectors.sqlite.test_schema import FIRST, vectors\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('PRAGMA journal_mode = WAL')\n"
        "c.executescript(FIRST)\n"
        "c.execute(\"INSERT INTO collections VALUES (3, 'a', ?, 'Dot', 'm', 'sha256:1', 7)\", (int(sys.argv[3]),))\n"
        "c.execute(\"INSERT INTO collections (name, size, distance) VALUES ('empty', 2, 'Cosine')\")\n"
        "c.execute('BEGIN')\n"
        "for i, v in enumerate(vectors(int(sys.argv[2]), int(sys.argv[3]))):\n"
        "    row = (f'{i:020d}', i % 7 + 1, '{\"n\":%d}' % i, v.tobytes())\n"
        "    c.execute('INSERT INTO points (collection, key, version, payload, vector) VALUES (3, ?, ?, ?, ?)', row)\n"
        "c.execute('COMMIT'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = str(folder / DATABASE_FILE)
    done = subprocess.run([sys.executable, "-c", script, path, str(count), str(size)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def check_first(folder, count=300, size=64):
    store = SqliteStore(folder)
    try:
        info = store.describe("a")
        assert (info.points, info.size, info.distance, info.model) == (
            count,
            size,
            "Dot",
            ModelRef("m", "sha256:1", size),
        )
        assert store.names() == ["a", "empty"]
        written = vectors(count, size)
        for i in (0, count // 2, count - 1):
            record = store.get("a", i)
            assert (record.version, record.payload) == (i % 7 + 1, {"n": i})
            assert record.vector.tobytes() == written[i].tobytes()
        everything = [record for start in range(0, count, 1000) for record in
                      store.scroll("a", limit=1000, start=start).records]  # fmt: skip
        assert len({record.id for record in everything}) == count
        hits = store.query("a", Query(written[5], limit=3))
        best = np.argsort(-(written.astype(np.float64) @ written[5].astype(np.float64)))[:3]
        assert [hit.record.id for hit in hits] == best.tolist()
    finally:
        store.close()


def test_a_store_of_schema_1_is_brought_up_to_date(tmp_path):
    write_first(tmp_path)
    check_first(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    store = SqliteStore(tmp_path)
    assert store.delete("a", Chosen(where={"must": [{"key": "n", "match": {"value": 4}}]})) == 8  # versions go on
    assert store.describe("a").points == 299
    store.close()


def test_killed_in_the_middle_it_is_as_it_was_or_done(tmp_path):
    write_first(tmp_path, count=20_000)
    script = (
        "import sys; from pathlib import Path; from amcl_serve.vectors.sqlite.database import Database\n"
        "print('go', flush=True); Database(Path(sys.argv[1])).close(); print('done', flush=True)"
    )
    killed = 0
    for delay in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(delay)
        child.kill()
        killed += child.communicate()[0] == ""
    assert killed
    check_first(tmp_path, count=20_000)
    assert not list(tmp_path.glob("*.new*"))


def test_on_a_full_disk_it_stays_as_it_was(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        write_first(folder, count=800, size=1024)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"disk is full.*as it was"):
                SqliteStore(folder)
        with contextlib.closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
            assert connection.execute("SELECT count(*) FROM points").fetchone() == (800,)
    finally:
        subprocess.run(["umount", folder], check=True)
