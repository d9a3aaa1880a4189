from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from amcl_serve.errors import DeadlineExceeded, InvalidRequest, NotReady, StorageFull
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.sqlite.database import Database

FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path)
    yield database
    database.close()


def insert(name, then=lambda: None):
    def work(connection):
        connection.execute("INSERT INTO collections (name, size, distance) VALUES (?, 1, 'Dot')", (name,))
        then()
        return name

    return work


def names(database):
    with database.readers.reading() as connection:
        return {name for (name,) in connection.execute("SELECT name FROM collections")}


def fail():
    raise InvalidRequest("no")


class Held:
    """Keeps the writer busy until it is let go, so that what comes meanwhile waits together."""

    def __init__(self, database):
        self._go, began = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(20)
        self._first = self._pool.submit(database.writer.write, lambda _: (began.set(), self._go.wait()))
        self._waiting = []
        self._database = database
        began.wait()

    def write(self, *args, **options):
        self._waiting.append(self._pool.submit(self._database.writer.write, *args, **options))
        time.sleep(0.05)

    def outcomes(self):
        self._go.set()
        self._first.result()
        return [job.exception() or job.result() for job in self._waiting]


def test_every_commit_is_synced(database):
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "page_size")
    found = database.writer.write(lambda c: [c.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas])
    assert found == ["wal", 2, 1, 2, 16384]


def test_what_waits_is_written_in_one_transaction(database):
    said = []
    database.writer.write(lambda connection: connection.set_trace_callback(said.append))
    held = Held(database)
    said.clear()
    for name in "abcdef":
        held.write(insert(name))
    assert held.outcomes() == list("abcdef")
    assert names(database) == set("abcdef")
    assert said.count("COMMIT") == 2  # the one that was held, and the six together


def test_a_job_that_fails_undoes_itself_alone(database):
    held = Held(database)
    held.write(insert("a"))
    held.write(insert("b", fail))
    held.write(insert("c"))
    first, second, third = held.outcomes()
    assert (first, third) == ("a", "c")
    assert isinstance(second, InvalidRequest)
    assert names(database) == {"a", "c"}


def test_a_job_that_sqlite_undoes_takes_no_other_with_it(database):
    database.writer.write(insert("before"))
    budget = Budget(0.1)
    budget.start()
    slow = f"UPDATE collections SET points = ({FOREVER})"  # interrupted, a statement that writes ends the transaction
    held = Held(database)
    held.write(insert("a"))
    held.write(lambda connection: connection.execute(slow), budget=budget)
    held.write(insert("b"))
    first, second, third = held.outcomes()
    assert (first, third) == ("a", "b")
    assert isinstance(second, DeadlineExceeded)
    assert names(database) == {"before", "a", "b"}


def test_one_that_finds_no_room_takes_no_other_with_it(database):
    (pages,) = database.writer.write(lambda c: c.execute("PRAGMA page_count").fetchone())
    database.writer.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
    held = Held(database)
    held.write(insert("a"))
    held.write(insert("b" * 200_000))
    held.write(insert("c"))
    first, second, third = held.outcomes()
    assert (first, third) == ("a", "c")
    assert isinstance(second, StorageFull)


def test_what_follows_a_write_comes_before_its_answer_and_fails_alone(database):
    seen = []

    def then(result):
        assert result in names(database)  # it is on the disk
        seen.append(result)
        if result == "b":
            raise RuntimeError("what follows fails")

    for name in "abc":
        assert database.writer.write(insert(name), then) == name
        assert seen[-1] == name
    assert names(database) == set("abc")


def test_closing_writes_what_waits(tmp_path):
    database = Database(tmp_path)
    held = Held(database)
    for name in "abc":
        held.write(insert(name))
    closing = threading.Thread(target=database.close)
    closing.start()
    assert held.outcomes() == list("abc")
    closing.join()
    with pytest.raises(NotReady):
        database.writer.write(insert("d"))
    assert not database.writer.running
    database = Database(tmp_path)
    assert names(database) == set("abc")
    database.close()


def test_a_reader_sees_one_state(database):
    database.writer.write(insert("a"))
    with database.readers.reading() as connection:
        count = "SELECT count(*) FROM collections"
        assert connection.execute(count).fetchone() == (1,)
        database.writer.write(insert("b"))
        assert connection.execute(count).fetchone() == (1,)
    assert names(database) == {"a", "b"}


def test_readers_cannot_write(database):
    with database.readers.reading() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM collections")


@pytest.mark.parametrize("how", ["time", "cancel"])
def test_a_statement_ends_when_its_budget_is_spent(database, how):
    budget = Budget(0.1 if how == "time" else None)
    budget.start()
    if how == "cancel":
        threading.Timer(0.1, budget.cancel).start()
    began = time.monotonic()
    says = r"0\.1 s" if how == "time" else "left"
    with pytest.raises(DeadlineExceeded, match=says), database.readers.reading(budget) as connection:
        connection.execute(FOREVER).fetchone()
    assert time.monotonic() - began < 5
    with database.readers.reading() as connection:  # the connection is good for the next
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_log_is_bounded_though_somebody_reads_an_old_state(database, tmp_path, monkeypatch):
    monkeypatch.setattr("amcl_serve.vectors.sqlite.writer._LOG_BYTES", 1 << 20)
    log = tmp_path / "collections.sqlite3-wal"
    with database.readers.reading() as connection:
        connection.execute("SELECT count(*) FROM collections").fetchone()
        for number in range(20):
            database.writer.write(insert(f"{number}" * 20_000))
            if log.stat().st_size > 1 << 20:
                break
        threading.Timer(0.3, connection.execute, ["COMMIT"]).start()  # its state ends, and is waited for
        database.writer.write(insert("next"))
    assert names(database) >= {"next"}
    assert log.stat().st_size < 1 << 20


def test_room_is_given_back(database, tmp_path):
    path, log = tmp_path / "collections.sqlite3", tmp_path / "collections.sqlite3-wal"
    database.writer.write(insert("x" * 30_000_000))
    database.writer.write(lambda connection: connection.execute("DELETE FROM collections"))
    until = time.monotonic() + 20
    while (path.stat().st_size > 20_000_000 or log.stat().st_size) and time.monotonic() < until:
        time.sleep(0.1)
    assert path.stat().st_size < 20_000_000  # 16 MB of pages are kept
    assert log.stat().st_size == 0
