"""A map as Parquet: its points with their places, vectors, pictures and payloads, written part by part.

The columns are those that Embedding Atlas is told of by name; a picture is the struct of `bytes` and `path` that it and
the `datasets` library read as an image.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.scan import Stored
from amcl_serve.vectors.types import PointId
from app.map.drawing import Map

if TYPE_CHECKING:
    import pyarrow as pa

PART = 1024  # points that are in memory at once, and a row group of the file
MOST_FIELDS = 100  # of payloads that have a column
OWN = ("id", "projection_x", "projection_y", "cluster", "vector", "image")

Thumbnail = Callable[[PointId], bytes | None]


def write(drawn: Map, path: Path, thumbnail: Thumbnail | None, *, budget: Budget) -> int:
    """Write the points of a map that are still there, and how many they are; needs pyarrow.

    Fields of payloads that are numbers, truths or texts throughout are columns of that kind; others are text, as JSON.
    A field with the name of a column of ours has `payload_` before it. DeadlineExceeded when the budget is spent.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = _fields(drawn, budget)
    places = [("id", pa.string()), ("projection_x", pa.float32()), ("projection_y", pa.float32())]
    own = [*places, ("cluster", pa.int32()), ("vector", pa.list_(pa.float32()))]
    if thumbnail is not None:
        own.append(("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
    kinds = {"number": pa.float64(), "truth": pa.bool_()}
    theirs = [(_column(key), kinds.get(kind, pa.string())) for key, kind in fields.items()]
    schema = pa.schema(own + theirs)
    written = 0
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(drawn.rows), PART):
            if budget.spent:
                raise budget.exceeded()
            table = _table(drawn, slice(start, start + PART), fields, schema, thumbnail)
            writer.write_table(table, row_group_size=PART)
            written += len(table)
    return written


def _table(drawn: Map, part: slice, fields: dict[str, str], schema: pa.Schema, thumbnail: Thumbnail | None) -> pa.Table:
    import pyarrow as pa

    asked = drawn.rows[part]
    rows, vectors = drawn.scan.vectors(asked)
    stored = drawn.scan.points(rows)
    there = np.array([int(row) in stored for row in rows], bool)
    rows, vectors = rows[there], vectors[there]
    at = np.searchsorted(asked, rows)
    points = [stored[int(row)] for row in rows]
    ends = np.arange(len(rows) + 1, dtype=np.int32) * vectors.shape[1]
    columns: list[Any] = [
        [str(point.id) for point in points],
        drawn.places[part][at, 0],
        drawn.places[part][at, 1],
        drawn.clusters[part][at].astype(np.int32),
        pa.ListArray.from_arrays(ends, pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))),
    ]
    if thumbnail is not None:
        columns.append([_picture(point, thumbnail) for point in points])
    payloads = [point.payload for point in points]
    columns += [[_value(each.get(key), kind) for each in payloads] for key, kind in fields.items()]
    return pa.Table.from_arrays(
        [pa.array(each, kind.type) for each, kind in zip(columns, schema, strict=True)], schema=schema
    )


def _fields(drawn: Map, budget: Budget) -> dict[str, str]:
    """The first keys of all payloads, each with its kind: number, truth, text or, where they differ, JSON."""
    found: dict[str, str] = {}
    for start in range(0, len(drawn.rows), PART):
        if budget.spent:
            raise budget.exceeded()
        for point in drawn.scan.points(drawn.rows[start : start + PART]).values():
            for key, value in point.payload.items():
                if value is not None and (key in found or len(found) < MOST_FIELDS):
                    kind = _kind(value)
                    found[key] = kind if found.get(key, kind) == kind else "json"
    names = [_column(key) for key in found]
    return {key: kind for (key, kind), name in zip(found.items(), names, strict=True) if names.count(name) == 1}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "json"


def _value(value: Any, kind: str) -> Any:
    if value is None or kind in ("truth", "text"):
        return value
    return float(value) if kind == "number" else json.dumps(value, ensure_ascii=False)


def _column(key: str) -> str:
    return f"payload_{key}" if key in OWN else key


def _picture(point: Stored, thumbnail: Thumbnail) -> dict[str, Any] | None:
    data = thumbnail(point.id)
    return None if data is None else {"bytes": data, "path": None}
