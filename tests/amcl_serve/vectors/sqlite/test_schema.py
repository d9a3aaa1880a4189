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
from amcl_serve.vectors.sqlite.schema import SCHEMA_VERSION
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Alias, Chosen, ModelRef, Order, Point, Query

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

SECOND = """
BEGIN;
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    distance TEXT NOT NULL CHECK (distance IN ('Cosine', 'Dot', 'Euclid')),
    model TEXT,
    digest TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    points INTEGER NOT NULL DEFAULT 0,
    CHECK ((model IS NULL) = (digest IS NULL))
);
CREATE TABLE points (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id),
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    UNIQUE (collection, key)
);
CREATE INDEX points_of ON points (collection);
CREATE TABLE vectors (id INTEGER PRIMARY KEY REFERENCES points (id) ON DELETE CASCADE, vector BLOB NOT NULL);
CREATE TABLE aliases (
    name TEXT PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE
);
CREATE TABLE fields (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    schema TEXT NOT NULL,
    filled INTEGER NOT NULL DEFAULT 0,
    UNIQUE (collection, name)
);
CREATE TABLE field_values (
    field INTEGER NOT NULL,
    kind TEXT NOT NULL,
    value NOT NULL,
    point INTEGER NOT NULL REFERENCES points (id) ON DELETE CASCADE,
    PRIMARY KEY (field, kind, value, point)
) WITHOUT ROWID;
CREATE INDEX field_values_of ON field_values (point);
PRAGMA user_version = 2;
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
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    store = SqliteStore(tmp_path)
    assert store.delete("a", Chosen(where={"must": [{"key": "n", "match": {"value": 4}}]})) == 8  # versions go on
    assert store.describe("a").points == 299
    store.close()


def write_second(folder, count=300, size=64):
    """A store of schema 2 with the points of `write_first`, an alias and an indexed field."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SECOND)
        connection.execute("BEGIN")
        row = (3, "a", size, "Dot", "m", "sha256:1", 7, count)
        connection.execute("INSERT INTO collections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO collections (name, size, distance) VALUES ('empty', 2, 'Cosine')")
        connection.execute("INSERT INTO aliases VALUES ('live', 3)")
        connection.execute("INSERT INTO fields VALUES (1, 3, 'n', 'integer', 1)")
        for i, vector in enumerate(vectors(count, size)):
            point = (i + 1, f"{i:020d}", i % 7 + 1, f'{{"n":{i}}}')
            connection.execute("INSERT INTO points VALUES (?, 3, ?, ?, ?)", point)
            connection.execute("INSERT INTO vectors VALUES (?, ?)", (i + 1, vector.tobytes()))
            connection.execute("INSERT INTO field_values VALUES (1, 'number', ?, ?)", (i, i + 1))
        connection.execute("COMMIT")


def test_a_store_of_schema_2_is_brought_up_to_date(tmp_path):
    write_second(tmp_path)
    check_first(tmp_path)
    store = SqliteStore(tmp_path)
    assert store.aliases() == [Alias("live", "a")]
    assert [record.id for record, _ in store.scroll_by("a", Order("n", start=298), limit=5)] == [298, 299]
    assert store.thumbnail("a", 7) is None
    assert store.heads("a", [7]) == {}
    assert (store.describe("a").thumbnails, store.describe("a").heads) == (False, False)
    store.create("new", 2, "Dot", thumbnails=True)
    store.upsert("new", [Point(1, [1, 2], {}, thumbnail=b"t")])
    assert store.thumbnail("new", 1) == b"t"
    store.close()


# The migration itself, with a statement more that kills the process before the transaction is committed.
_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from amcl_serve.vectors.sqlite import schema
from amcl_serve.vectors.sqlite.database import Database
connect = sqlite3.connect
def killing(*args, **options):
    connection = connect(*args, **options)
    connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return connection
schema.sqlite3.connect = killing
schema._BESIDE += "SELECT die();"
Database(Path(sys.argv[1]))
"""


def test_killed_on_its_way_from_schema_2_it_is_as_it_was(tmp_path):
    write_second(tmp_path)
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert not {"thumbnails", "heads"} & tables
        assert len(connection.execute("SELECT * FROM collections").fetchone()) == 8
    check_first(tmp_path)


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
