"""A collection's points, read in transactions of their own: a long one would keep the log from being given back."""
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Hashable
from contextlib import AbstractContextManager

from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.filters import compile_filter
from amcl_serve.vectors.scan import Stored
from amcl_serve.vectors.sqlite import fields
from amcl_serve.vectors.sqlite.readers import Readers
from amcl_serve.vectors.sqlite.rows import LISTED, collection_row, distinct_ids, fetched, json_of
from amcl_serve.vectors.types import Filter, Rows, Vectors
from amcl_serve.vectors.values import key_to_id


class SqliteScan:
    """A Scan of the points that a filter matches."""

    def __init__(self, readers: Readers, name: str, where: Filter | None, budget: Budget) -> None:
        self._readers = readers
        self._budget = budget
        with readers.reading(budget) as connection:
            collection = collection_row(connection, name)
            condition = compile_filter(where, fields.usable(connection, collection.id))
            self.rows = distinct_ids(connection.execute(*condition.rows_of(collection.id)))
        self.key: Hashable = collection.id
        self.info = collection.info

    def vectors(self, rows: Rows) -> tuple[Rows, Vectors]:
        """Those of `rows`, ascending, that are still there, and their vectors float32 [N, size]."""
        with self._reading() as connection:
            return fetched(connection, self.info.size, rows)

    def points(self, rows: Rows) -> dict[int, Stored]:
        """Those of `rows` that are still there."""
        sql = f"SELECT id, key, payload FROM points WHERE id IN {LISTED}"
        with self._reading() as connection:
            found = connection.execute(sql, (json_of(rows),)).fetchall()
        return {row: Stored(key_to_id(key), payload) for row, key, payload in found}

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        if self._budget.spent:  # SQLite itself asks in long statements alone
            raise self._budget.exceeded()
        return self._readers.reading(self._budget)
