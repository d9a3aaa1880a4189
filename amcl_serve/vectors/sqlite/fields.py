"""Indexes of payloads: the values that a declared field has in each point, in a table that filters and orders read.

A value that is an array is one value for each of its elements, as filters see it.
"""
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from amcl_serve.vectors.filters import MAX_INDEXED, json_path
from amcl_serve.vectors.sqlite.rows import LISTED, json_of, row_ids
from amcl_serve.vectors.types import Field

_PIECE = 2048  # points that are entered in a transaction while others wait

# Whole numbers come first: of 1 and 1.0 in one array, which are equal, it is 1 that an integer matches.
_FILL = f"""
    INSERT OR IGNORE INTO field_values (field, kind, value, point)
    SELECT ?, CASE WHEN element.type IN ('integer', 'real') THEN 'number' WHEN element.type = 'text' THEN 'text'
              ELSE 'boolean' END, element.value, points.id
    FROM points, json_each(points.payload, ?) AS element
    WHERE points.id IN {LISTED} AND json_type(points.payload, ?) IS NOT 'object'
      AND (element.type IN ('integer', 'real', 'true', 'false')
           OR (element.type = 'text' AND length(element.value) <= {MAX_INDEXED}))
    ORDER BY typeof(element.value)
"""


def fields_of(connection: sqlite3.Connection, collection: int) -> list[tuple[int, str, str, bool]]:
    """The fields that are indexed: their numbers, names, schemas, and whether they are filled."""
    sql = "SELECT id, name, schema, filled FROM fields WHERE collection = ? ORDER BY name"
    return [(*row[:3], bool(row[3])) for row in connection.execute(sql, (collection,))]


def described(connection: sqlite3.Connection, collection: int) -> list[Field]:
    """The same with the number of points that have the field."""
    sql = "SELECT count(DISTINCT point) FROM field_values WHERE field = ?"
    return [
        Field(name, schema, filled, *connection.execute(sql, (field,)).fetchone())
        for field, name, schema, filled in fields_of(connection, collection)
    ]


def usable(connection: sqlite3.Connection, collection: int) -> Mapping[str, int]:
    """What `compile_filter` is to know of a collection's fields."""
    return {name: field for field, name, _, filled in fields_of(connection, collection) if filled}


def declare(connection: sqlite3.Connection, collection: int, name: str, schema: str) -> bool:
    """Index a field from now on; whether it is to be filled with the points that there are."""
    json_path(name, "field_name")
    sql = "INSERT INTO fields (collection, name, schema) VALUES (?, ?, ?) ON CONFLICT (collection, name) DO NOTHING"
    connection.execute(sql, (collection, name, schema))
    sql = "SELECT filled FROM fields WHERE collection = ? AND name = ?"
    (filled,) = connection.execute(sql, (collection, name)).fetchone()
    return not filled


def undeclare(connection: sqlite3.Connection, collection: int, name: str) -> None:
    """Index a field no longer."""
    sql = "DELETE FROM fields WHERE collection = ? AND name = ? RETURNING id"
    for (field,) in connection.execute(sql, (collection, name)).fetchall():
        connection.execute("DELETE FROM field_values WHERE field = ?", (field,))


def fill(connection: sqlite3.Connection, collection: int, name: str, after: int) -> int | None:
    """Enter the next points after the one with the number `after`; the last one's, None when there were none left."""
    sql = "SELECT id FROM points WHERE collection = ? AND id > ? ORDER BY id LIMIT ?"
    rows = row_ids(connection.execute(sql, (collection, after, _PIECE)))
    found = connection.execute("SELECT id FROM fields WHERE collection = ? AND name = ?", (collection, name)).fetchone()
    if found is None:  # undeclared meanwhile
        return None
    if not len(rows):
        connection.execute("UPDATE fields SET filled = 1 WHERE id = ?", found)
        return None
    (field,) = found
    _enter(connection, field, name, json_of(rows))
    return int(rows[-1])


def note(connection: sqlite3.Connection, collection: int, rows: str) -> None:
    """Enter points, whose numbers are a parameter of LISTED, for all fields, and none of them for a second time."""
    for field, name, _, _ in fields_of(connection, collection):
        _enter(connection, field, name, rows)


def forget(connection: sqlite3.Connection, rows: str) -> None:
    """Take points out."""
    connection.execute(f"DELETE FROM field_values WHERE point IN {LISTED}", (rows,))


def _enter(connection: sqlite3.Connection, field: int, name: str, rows: str) -> None:
    path = json_path(name, "field_name")
    connection.execute(_FILL, (field, path, rows, path))
