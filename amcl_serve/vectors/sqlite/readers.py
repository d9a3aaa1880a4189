"""Connections that read, one to a call at a time; each call sees one state of the file throughout."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amcl_serve.errors import NotReady
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.sqlite.limits import limited
from amcl_serve.vectors.sqlite.schema import connect


class Readers:
    """As many connections as there are calls at a time; they are kept. Safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def reading(self, budget: Budget | None = None) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, whose state is that of its first statement.

        Raises NotReady after `close`, DeadlineExceeded when the budget is spent.
        """
        connection = self._take()
        try:
            connection.execute("BEGIN")
            with limited(connection, budget or Budget()):
                yield connection
        finally:
            self._give(connection)

    def rows(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """What one short statement gives, which sees one state by itself. Raises NotReady after `close`."""
        connection = self._take()
        try:
            with limited(connection, Budget()):
                return connection.execute(sql, parameters).fetchall()
        finally:
            self._give(connection)

    def close(self) -> None:
        """Close those that nobody holds, and each of the others when it is given back; again is no error."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise NotReady("the collections are closed: the server is stopping")
            if self._idle:
                return self._idle.pop()
        return connect(self._path)

    def _give(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        with self._lock:
            if self._closed or connection.in_transaction:
                connection.close()
            else:
                self._idle.append(connection)
