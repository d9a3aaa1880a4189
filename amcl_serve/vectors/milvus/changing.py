"""Writes to the points of one collection, page by page: whoever reads meanwhile may see some pages changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import orjson

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.matching import predicate
from amcl_serve.vectors.milvus.catalogue import Entry
from amcl_serve.vectors.milvus.connection import Connection, Row, page_rows
from amcl_serve.vectors.milvus.payloads import Payload
from amcl_serve.vectors.milvus.reading import WHOLE, matching
from amcl_serve.vectors.types import Chosen, Vectors
from amcl_serve.vectors.values import MAX_PAYLOAD_BYTES, id_to_key


def put(connection: Connection, entry: Entry, encoded: Mapping[str, tuple[str, Vectors]]) -> None:
    """Write points, payload and vector by key, as those of the entry's version."""
    rows = (
        {"key": key, "version": entry.version, "vector": vector, "payload": orjson.loads(payload)}
        for key, (payload, vector) in encoded.items()
    )
    connection.write(entry.place, rows, entry.size)


def remove(connection: Connection, entry: Entry, chosen: Chosen, budget: Budget | None) -> None:
    """Delete points."""
    for page in _chosen(connection, entry, chosen, (), budget):
        connection.delete(entry.place, [row["key"] for row in page])


def largest_after(
    connection: Connection, entry: Entry, chosen: Chosen, change: Callable[[Payload], Payload], budget: Budget | None
) -> int:
    """Bytes of the largest payload that the change makes; InvalidRequest where some become too large."""
    pages = _chosen(connection, entry, chosen, ("payload",), budget)
    large = largest = 0
    for row in chain.from_iterable(pages):
        size = len(orjson.dumps(change(row["payload"])))
        largest = max(largest, size)
        large += size > MAX_PAYLOAD_BYTES
    if large:
        raise InvalidRequest(f"payload: that of {large} points would have more than {MAX_PAYLOAD_BYTES} bytes")
    return largest


def rewrite(
    connection: Connection, entry: Entry, chosen: Chosen, change: Callable[[Payload], Payload], budget: Budget | None
) -> None:
    """Change payloads, as those of the entry's version."""
    for page in _chosen(connection, entry, chosen, WHOLE, budget):
        rows = ({**row, "version": entry.version, "payload": change(row["payload"])} for row in page)
        connection.write(entry.place, rows, entry.size)


def _chosen(
    connection: Connection, entry: Entry, chosen: Chosen, fields: Sequence[str], budget: Budget | None
) -> Iterator[list[Row]]:
    """The points that there are, none of them twice."""
    predicate(chosen.where)  # which raises InvalidRequest, before anything is changed
    keys = sorted({id_to_key(identity) for identity in chosen.ids})
    length = page_rows(entry.size)
    for start in range(0, len(keys), length):
        yield connection.rows(entry.place, keys[start : start + length], fields, entry.size)
    if chosen.where is not None:
        known = set(keys)
        for page in matching(connection, entry, chosen.where, fields, budget=budget):
            yield [row for row in page if row["key"] not in known]
