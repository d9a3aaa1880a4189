"""How work that looks at all points of a collection reads them, whichever engine holds them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, Protocol

import orjson

from amcl_serve.vectors.types import CollectionInfo, PointId, Rows, Vectors


class Stored(NamedTuple):
    """A point without its vector."""

    id: PointId
    payload_json: str

    @property
    def payload(self) -> dict[str, Any]:
        """The payload, read anew each time."""
        payload: dict[str, Any] = orjson.loads(self.payload_json)
        return payload


class Scan(Protocol):
    """A collection's points as they were when it was made. Each call reads by itself: nobody waits for a long scan.

    A row is one vector for good: a point that is written again has another row, a payload that changes leaves it, and
    no row is given twice. So what was found out about rows stays true. Rows that are deleted meanwhile are left out.
    """

    key: Hashable  # of the collection, whatever it is called; no later collection has it
    info: CollectionInfo
    rows: Rows  # ascending, which is the order in which they were written

    def vectors(self, rows: Rows) -> tuple[Rows, Vectors]:
        """Those of `rows`, ascending, that are still there, and their vectors float32 [N, size]."""

    def points(self, rows: Rows) -> dict[int, Stored]:
        """Those of `rows` that are still there."""
