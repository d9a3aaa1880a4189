"""The one thread that writes: what waits is written in one transaction, and synced to the disk once."""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from amcl_serve.errors import NotReady, StorageFull
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.sqlite.folder import Folder
from amcl_serve.vectors.sqlite.limits import limited
from amcl_serve.vectors.sqlite.schema import FULL, PAGE_BYTES, PATIENCE, connect

Value = TypeVar("Value")

_logger = logging.getLogger(__name__)

_GROUP = 64  # jobs in a transaction, at most
_IDLE = 1.0  # seconds without a job, after which room is given back
_LOG_BYTES = 64 << 20  # of the log; beyond it writers wait for the readers that keep it from being moved into the file
_SLACK = 1024  # free pages that the file keeps for what is written next
_PIECE = 64  # pages given back to the disk at a time


class _Job:
    """Work in a transaction; `done` is told the result once it is on the disk, before anybody else is."""

    def __init__(
        self, work: Callable[[sqlite3.Connection], Any], done: Callable[[Any], None], frees: bool, budget: Budget
    ) -> None:
        self.work = work
        self.done = done
        self.frees = frees
        self.budget = budget
        self.result: Any = None
        self.outcome: Future[Any] = Future()


class Writer:
    """Writes to the folder's database in a thread of its own. Safe to call from any thread.

    `published` is held from a transaction's commit until `done` of all its jobs has returned: who holds it sees
    either all that a job changes, or nothing of it. `commits` counts the transactions whose jobs are done.
    """

    def __init__(self, folder: Folder) -> None:
        """Raises sqlite3.Error where the file cannot be opened."""
        self.published = threading.Lock()
        self.commits = 0
        self._folder = folder
        self._log = folder.database.with_name(folder.database.name + "-wal")
        self._connection = connect(folder.database, writes=True)
        folder.keep_room()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="collections-writer", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether there is a thread that writes."""
        return self._thread.is_alive()

    def write(
        self,
        work: Callable[[sqlite3.Connection], Value],
        done: Callable[[Value], None] = lambda _: None,
        *,
        frees: bool = False,
        budget: Budget | None = None,
    ) -> Value:
        """Run `work` in a transaction and return its result when that is on the disk, and `done` has had it.

        What `work` raises undoes what it did, and nothing else. Where the disk takes no more, StorageFull; work that
        `frees` then gets the room that is kept for it. `budget` ends a statement that takes too long.
        """
        job = _Job(work, done, frees, budget or Budget())
        with self._closing:
            if self._closed:
                raise NotReady("the collections are closed: the server is stopping")
            self._jobs.put(job)
        result: Value = job.outcome.result()
        return result

    def close(self) -> None:
        """Write what waits, move the log into the file and close it; again is no error."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        idle = False
        while True:
            try:
                job = self._jobs.get(timeout=None if idle else _IDLE)
            except queue.Empty:
                idle = self._tidy()
                continue
            idle = False
            jobs, last = self._waiting(job)
            self._write(jobs)
            del job, jobs
            if last:
                self._checkpoint()
                return
            self._bound_log()

    def _waiting(self, job: _Job | None) -> tuple[list[_Job], bool]:
        """The next group, and whether nothing comes after it."""
        jobs: list[_Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == _GROUP:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _write(self, jobs: list[_Job]) -> None:
        """Write a group; each job whose work fails has its error, the others their result."""
        try:
            self._try(jobs)
        except Exception as error:
            left = [job for job in jobs if not job.outcome.done()]
            if len(left) == 1:
                self._failed(left[0], error)
                return
            for job in left:  # each by itself: the error is that of one of them, or of all together
                self._write([job])

    def _try(self, jobs: list[_Job]) -> None:
        """Write a group; whatever this raises, nothing of it is written, and no outcome but an error is told."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            good = []
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    with limited(connection, job.budget):
                        job.result = job.work(connection)
                except Exception as error:
                    if not connection.in_transaction or _is_full(error):  # SQLite has undone all, or may have
                        raise
                    connection.execute("ROLLBACK TO job")
                    job.outcome.set_exception(error)
                else:
                    good.append(job)
                connection.execute("RELEASE job")
            with self.published:
                self._commit()
                for job in good:
                    _tell(job)
                self.commits += 1
            for job in good:
                job.outcome.set_result(job.result)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _commit(self) -> None:
        """Make it durable, if the file can take what the log would then have for it."""
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        if not self._folder.has_room(pages * PAGE_BYTES):
            raise StorageFull(_NO_ROOM)
        self._connection.execute("COMMIT")

    def _failed(self, job: _Job, error: Exception | None) -> None:
        """Try it again where the disk was full, with the room that the log had, and the room that is kept."""
        if _is_full(error):
            self._checkpoint()
            error = self._again(job)
        if _is_full(error) and job.frees:
            self._folder.give_room()
            error = self._again(job)
            self._checkpoint()
            self._folder.keep_room()
        if error is not None and not job.outcome.done():
            job.outcome.set_exception(StorageFull(_NO_ROOM) if _is_full(error) else error)

    def _again(self, job: _Job) -> Exception | None:
        try:
            self._try([job])
        except Exception as error:
            return error
        return None

    def _bound_log(self) -> None:
        """Readers of an old state keep the log from being used anew. They end soon, and are then waited for."""
        with contextlib.suppress(OSError):
            if self._log.stat().st_size > _LOG_BYTES:
                self._checkpoint()

    def _checkpoint(self, *, wait: bool = True) -> bool:
        """Move the log into the file, whose freed pages are used again, and give the log's room back; whether it was.

        `wait` for the readers of an old state.
        """
        connection = self._connection
        with contextlib.suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE if wait else 0}")
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        return False

    def _tidy(self) -> bool:
        """Give back the room of what was deleted, in pieces, until there is something to write; whether it is done."""
        with contextlib.suppress(sqlite3.Error):
            while self._jobs.empty():
                (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
                if free <= _SLACK:
                    return self._checkpoint(wait=False)
                self._connection.execute(f"PRAGMA incremental_vacuum({_PIECE})").fetchall()
        return False


_NO_ROOM = (
    "the server's disk is full: nothing of this request was stored; "
    "deleting points or collections still works, and makes room for others"
)


def _tell(job: _Job) -> None:
    try:
        job.done(job.result)
    except Exception:  # it is on the disk all the same, and must not be written a second time
        _logger.exception("what follows a write failed")


def _is_full(error: Exception | None) -> bool:
    return isinstance(error, StorageFull) or getattr(error, "sqlite_errorcode", None) in FULL
