"""Second names of collections: whatever reads or writes a collection goes by either."""

# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from amcl_serve.errors import CollectionExists, CollectionNotFound
from amcl_serve.vectors.sqlite.rows import DROPPED, collection_row
from amcl_serve.vectors.types import Alias, CreateAlias, DeleteAlias, RenameAlias
from amcl_serve.vectors.values import check_name


def aliases(connection: sqlite3.Connection, collection: str | None) -> list[Alias]:
    """Those of one collection or of all, by name; raises CollectionNotFound."""
    sql = (
        "SELECT aliases.name, collections.name FROM aliases JOIN collections ON collections.id = collection "
        f"WHERE collections.name NOT LIKE '{DROPPED}%' AND (?1 IS NULL OR collection = ?1) ORDER BY aliases.name"
    )
    only = None if collection is None else collection_row(connection, collection).id
    return [Alias(*row) for row in connection.execute(sql, (only,))]


def change(connection: sqlite3.Connection, actions: Sequence[CreateAlias | DeleteAlias | RenameAlias]) -> None:
    """Do all of them, in their order; an alias that is created again points elsewhere from then on.

    Raises CollectionNotFound, CollectionExists where a collection has the name, and InvalidRequest.
    """
    for action in actions:
        if isinstance(action, CreateAlias):
            check_name(action.alias)
            _refuse_taken(connection, action.alias)
            collection = collection_row(connection, action.collection).id
            sql = "INSERT INTO aliases VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET collection = excluded.collection"
            connection.execute(sql, (action.alias, collection))
        elif isinstance(action, DeleteAlias):
            connection.execute("DELETE FROM aliases WHERE name = ?", (action.alias,))
        else:
            check_name(action.new)
            _refuse_taken(connection, action.new)
            sql = "SELECT collection FROM aliases WHERE name = ?"
            row = connection.execute(sql, (action.old,)).fetchone()
            if row is None:
                raise CollectionNotFound(f"no alias {action.old!r}")
            connection.execute("DELETE FROM aliases WHERE name IN (?, ?)", (action.old, action.new))
            connection.execute("INSERT INTO aliases VALUES (?, ?)", (action.new, *row))


def _refuse_taken(connection: sqlite3.Connection, alias: str) -> None:
    if connection.execute("SELECT 1 FROM collections WHERE name = ?", (alias,)).fetchone():
        raise CollectionExists(f"{alias!r} is the name of a collection, so no alias can have it")
