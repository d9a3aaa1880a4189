"""Indexed fields in Milvus: it keeps no index of them, so every payload is looked at; what they allow is the same."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.filters import MAX_INDEXED
from amcl_serve.vectors.matching import is_number, value_at
from amcl_serve.vectors.milvus.catalogue import Entry
from amcl_serve.vectors.milvus.connection import Connection
from amcl_serve.vectors.milvus.reading import matching, records
from amcl_serve.vectors.types import Field, Filter, Order, Record
from amcl_serve.vectors.values import id_to_key


def ordered(
    connection: Connection, entry: Entry, order: Order, limit: int, where: Filter | None, budget: Budget | None
) -> list[tuple[Record, float]]:
    """The first points in the order of a number, with it; InvalidRequest unless its field is indexed."""
    if order.key not in entry.fields:
        raise InvalidRequest(
            f"order_by: {order.key!r} has no index; make one of integers or floats (PUT …/index), "
            "and wait until it is filled"
        )
    sign = -1 if order.descending else 1
    numbers = (
        (sign * number, row["key"], number)
        for page in matching(connection, entry, where, ("payload",), budget=budget)
        for row in page
        for number in _numbers(row["payload"], order.key)
        if order.start is None or sign * number >= sign * order.start
    )
    chosen = heapq.nsmallest(limit, numbers)
    whole = {id_to_key(each.id): each for each in records(connection, entry, [key for _, key, _ in chosen])}
    return [(whole[key], number) for _, key, number in chosen if key in whole]


def described(connection: Connection, entry: Entry) -> list[Field]:
    """The fields, by name, with the number of points that have them."""
    points = dict.fromkeys(sorted(entry.fields), 0)
    for page in connection.pages(entry.place, "", ("payload",), payload=entry.largest) if points else ():
        for row in page:
            for field in points:
                points[field] += any(map(_indexed, value_at(row["payload"], field)))
    return [Field(field, entry.fields[field], True, count) for field, count in points.items()]


def _numbers(payload: Mapping[str, Any], key: str) -> list[float]:
    """The different numbers at a key; of 1 and 1.0, which are equal, the integer."""
    numbers = sorted(filter(is_number, value_at(payload, key)), key=lambda number: isinstance(number, float))
    return list(dict.fromkeys(numbers))


def _indexed(value: Any) -> bool:
    """Whether the embedded store enters a value into a field's index."""
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_INDEXED)
