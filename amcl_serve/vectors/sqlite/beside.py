"""What is kept beside points of images: thumbnails, and the heads that a pair's score is made of."""

# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amcl_serve.errors import InvalidRequest, PointNotFound
from amcl_serve.vectors.sqlite.rows import LISTED, CollectionRow, keys_of
from amcl_serve.vectors.types import CollectionInfo, Point, PointId, Rows, Vectors
from amcl_serve.vectors.values import id_to_key, key_to_id

_HEADS = "<f2"  # half the room; a score of a pair moves by less than 0.001


class Kept(NamedTuple):
    """A point's thumbnail, a file, and its heads as they are stored."""

    thumbnail: bytes | None
    heads: bytes | None


def kept(points: Sequence[Point], collection: CollectionInfo) -> list[Kept]:
    """What is to be kept of each point, the last one of those with the same id, as `put` wants them; nothing of any
    where the collection keeps nothing.

    InvalidRequest for a point without heads in a collection that keeps them: it could never be scored.
    """
    if collection.heads and any(point.heads is None for point in points):
        raise InvalidRequest(
            f"collection {collection.name!r} keeps heads, which come with an image alone: "
            "write its points by their images, not by vectors"
        )
    if not (collection.thumbnails or collection.heads):
        return []
    last = {id_to_key(point.id): point for point in points}
    return [
        Kept(
            point.thumbnail if collection.thumbnails else None,
            np.asarray(point.heads, _HEADS).tobytes() if collection.heads else None,
        )
        for point in last.values()
    ]


def put(connection: sqlite3.Connection, rows: Rows, points: Sequence[Kept]) -> None:
    """Write what is kept of new points, if anything is, whose numbers are `rows`."""
    if not points:
        return
    for table, column, blobs in (
        ("thumbnails", "image", [point.thumbnail for point in points]),
        ("heads", "heads", [point.heads for point in points]),
    ):
        found = [(row, blob) for row, blob in zip(rows.tolist(), blobs, strict=True) if blob is not None]
        connection.executemany(f"INSERT INTO {table} (id, {column}) VALUES (?, ?)", found)


def thumbnail(connection: sqlite3.Connection, collection: CollectionRow, point: PointId) -> bytes | None:
    """A point's, if it has one; raises PointNotFound."""
    sql = "SELECT image FROM points LEFT JOIN thumbnails USING (id) WHERE collection = ? AND key = ?"
    row = connection.execute(sql, (collection.id, id_to_key(point))).fetchone()
    if row is None:
        raise PointNotFound(f"collection {collection.info.name!r} has no point {str(point)!r}")
    image: bytes | None = row[0]
    return image


def heads(
    connection: sqlite3.Connection, collection: CollectionRow, points: Sequence[PointId]
) -> dict[PointId, Vectors]:
    """Of those of the points that have them, each float32 [C · d']."""
    sql = f"SELECT key, heads FROM points JOIN heads USING (id) WHERE collection = ? AND key IN {LISTED}"
    rows = connection.execute(sql, (collection.id, keys_of(points)))
    return {key_to_id(key): np.frombuffer(blob, _HEADS).astype(np.float32) for key, blob in rows}
