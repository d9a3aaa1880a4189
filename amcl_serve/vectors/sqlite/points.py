"""What writes do to points, in the writer's transaction; each gives the Change that an index follows."""
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.filters import compile_filter, json_path
from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.sqlite import fields
from amcl_serve.vectors.sqlite.rows import LISTED, CollectionRow, json_of, keys_of, no_vectors, row_ids
from amcl_serve.vectors.types import Chosen, ModelRef, Rows, Vectors
from amcl_serve.vectors.values import MAX_PAYLOAD_BYTES, encode_payload

_MEMBERS = 40  # of an object that one call of SQLite's functions sets, which take 127 arguments

_NONE: Rows = np.empty(0, np.int64)

Encoded = Mapping[str, tuple[str, Vectors]]  # payload and vector by key


def put(connection: sqlite3.Connection, collection: CollectionRow, encoded: Encoded, model: ModelRef | None) -> Change:
    """Write points, in place of those that have the same keys; `model` is recorded as that of the images."""
    if model is not None:
        sql = "UPDATE collections SET model = ?, digest = ? WHERE id = ?"
        connection.execute(sql, (model.name, model.digest, collection.id))
    sql = f"DELETE FROM points WHERE collection = ? AND key IN {LISTED} RETURNING id"
    gone = row_ids(connection.execute(sql, (collection.id, orjson.dumps(list(encoded)).decode())))
    (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'points'").fetchone() or (0,)
    rows = np.arange(last + 1, last + 1 + len(encoded))
    version = collection.version + 1
    connection.executemany(
        "INSERT INTO points (id, collection, key, version, payload) VALUES (?, ?, ?, ?, ?)",
        (
            (row, collection.id, key, version, payload)
            for row, (key, (payload, _)) in zip(rows.tolist(), encoded.items(), strict=True)
        ),
    )
    connection.executemany(
        "INSERT INTO vectors (id, vector) VALUES (?, ?)",
        ((row, vector.tobytes()) for row, (_, vector) in zip(rows.tolist(), encoded.values(), strict=True)),
    )
    fields.note(connection, collection.id, json_of(rows))
    vectors = np.stack([vector for _, vector in encoded.values()]) if encoded else no_vectors(collection.info.size)
    return _counted(connection, collection, Change(version, gone, rows, vectors, list(encoded)))


def remove(connection: sqlite3.Connection, collection: CollectionRow, chosen: Chosen) -> Change:
    """Delete points."""
    rows = _rows(connection, collection, chosen)
    connection.execute(f"DELETE FROM points WHERE id IN {LISTED}", (json_of(rows),))
    return _counted(connection, collection, _change(collection, removed=rows))


def set_payload(
    connection: sqlite3.Connection,
    collection: CollectionRow,
    chosen: Chosen,
    payload: Mapping[str, Any],
    key: str | None,
) -> Change:
    """Give each point these members, in place of those it has; with `key`, in the object that stands there."""
    members: list[tuple[str, Any]] = list(orjson.loads(encode_payload(payload)).items())
    rows = _rows(connection, collection, chosen)
    path = "$"
    if key is not None:
        json_path(key, "key")
        for name in key.split("."):  # an object on each step of the way, where there is none
            path += f'."{name}"'
            sql = (
                f"UPDATE points SET payload = json_set(payload, ?, json('{{}}')) "
                f"WHERE id IN {LISTED} AND json_type(payload, ?) IS NOT 'object'"
            )
            connection.execute(sql, (path, json_of(rows), path))
    for start in range(0, len(members), _MEMBERS):
        part = members[start : start + _MEMBERS]
        sql = f"UPDATE points SET payload = json_set(payload{', ?, json(?)' * len(part)}) WHERE id IN {LISTED}"
        pairs = ((f'{path}."{_member(name)}"', orjson.dumps(value).decode()) for name, value in part)
        connection.execute(sql, (*chain.from_iterable(pairs), json_of(rows)))
    return _touched(connection, collection, rows)


def overwrite_payload(
    connection: sqlite3.Connection, collection: CollectionRow, chosen: Chosen, payload: Mapping[str, Any]
) -> Change:
    """Give each point this payload in place of its own."""
    rows = _rows(connection, collection, chosen)
    sql = f"UPDATE points SET payload = ? WHERE id IN {LISTED}"
    connection.execute(sql, (encode_payload(payload), json_of(rows)))
    return _touched(connection, collection, rows)


def delete_payload(
    connection: sqlite3.Connection, collection: CollectionRow, chosen: Chosen, keys: Sequence[str]
) -> Change:
    """Take these keys out of each point's payload."""
    paths = [json_path(key, f"keys[{index}]") for index, key in enumerate(keys)]
    rows = _rows(connection, collection, chosen)
    for start in range(0, len(paths), _MEMBERS):
        part = paths[start : start + _MEMBERS]
        sql = f"UPDATE points SET payload = json_remove(payload{', ?' * len(part)}) WHERE id IN {LISTED}"
        connection.execute(sql, (*part, json_of(rows)))
    return _touched(connection, collection, rows)


def _touched(connection: sqlite3.Connection, collection: CollectionRow, touched: Rows) -> Change:
    """What every change of payloads ends with."""
    rows = json_of(touched)
    connection.execute(f"UPDATE points SET version = ? WHERE id IN {LISTED}", (collection.version + 1, rows))
    sql = f"SELECT count(*) FROM points WHERE id IN {LISTED} AND length(CAST(payload AS BLOB)) > {MAX_PAYLOAD_BYTES}"
    (large,) = connection.execute(sql, (rows,)).fetchone()
    if large:
        raise InvalidRequest(f"payload: that of {large} points would have more than {MAX_PAYLOAD_BYTES} bytes")
    fields.forget(connection, rows)
    fields.note(connection, collection.id, rows)
    return _counted(connection, collection, _change(collection, touched=touched))


def _rows(connection: sqlite3.Connection, collection: CollectionRow, chosen: Chosen) -> Rows:
    """The numbers of the chosen points that there are."""
    sql = f"SELECT id FROM points WHERE collection = ? AND key IN {LISTED}"
    found = connection.execute(sql, (collection.id, keys_of(chosen.ids))).fetchall()
    if chosen.where is not None:
        condition = compile_filter(chosen.where, fields.usable(connection, collection.id))
        found += connection.execute(*condition.rows_of(collection.id)).fetchall()
    return np.unique(row_ids(found))


def _member(name: str) -> str:
    """A name as SQLite's JSON path quotes it."""
    if '"' in name or "\\" in name or any(character < " " for character in name):
        raise InvalidRequest(
            "payload: a member's name that is set by itself has no quotation marks, backslashes and control characters"
        )
    return name


def _change(collection: CollectionRow, *, removed: Rows = _NONE, touched: Rows = _NONE) -> Change:
    return Change(collection.version + 1, removed, _NONE, no_vectors(collection.info.size), touched=touched)


def _counted(connection: sqlite3.Connection, collection: CollectionRow, change: Change) -> Change:
    sql = "UPDATE collections SET version = ?, points = points + ? WHERE id = ?"
    connection.execute(sql, (change.version, len(change.added) - len(change.removed), collection.id))
    return change
