"""The store beyond one machine: the same collections, kept and searched by Milvus.

Milvus has no transactions: what is said to be written whole or not at all is so only as far as it is one request.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from pymilvus import DataType

from amcl_serve.errors import InvalidRequest, NotReady, StorageError
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.encoding import encoded
from amcl_serve.vectors.filters import json_path
from amcl_serve.vectors.index.graph import BUILD_WIDTH, NEIGHBOURS
from amcl_serve.vectors.matching import predicate
from amcl_serve.vectors.milvus import changing, fields, payloads, reading
from amcl_serve.vectors.milvus.catalogue import Catalogue, Entry
from amcl_serve.vectors.milvus.connection import Connection
from amcl_serve.vectors.milvus.expressions import narrowed
from amcl_serve.vectors.milvus.lacking import Lacking, check_kept
from amcl_serve.vectors.types import (
    USUAL_INDEX,
    Alias,
    Chosen,
    CollectionInfo,
    CreateAlias,
    DeleteAlias,
    Distance,
    Field,
    Filter,
    Hit,
    IndexChoice,
    ModelRef,
    Order,
    Page,
    Point,
    PointId,
    Query,
    Record,
    RenameAlias,
    choose_model,
    require_model,
)
from amcl_serve.vectors.values import check_limit, check_name, check_reach, encode_payload, id_to_key

MAX_SIZE = 32_768  # components of a vector in Milvus, which has two at least
_FIELDS = {"version": DataType.INT64, "payload": DataType.JSON}


class MilvusStore(Lacking):
    """A VectorStore in one Milvus, of which no other server writes. Writes go one by one, reads beside them."""

    def __init__(self, address: str) -> None:
        """`address` is host:port; raises StorageError where no Milvus answers there."""
        try:
            self._connection = Connection(address)
            self._catalogue = Catalogue(self._connection)
        except NotReady:
            raise StorageError(
                f"no Milvus answers at {address}, where vectors=milvus://{address} looks for one; start it, or correct "
                "the address (the log says what was tried)"
            ) from None
        self._lock = threading.Lock()  # of whoever writes

    def close(self) -> None:
        """Let go of Milvus; every later call raises NotReady."""
        self._connection.close()

    def check(self) -> None:
        """NotReady where Milvus does not answer."""
        self._catalogue.aliases()

    def create(
        self,
        name: str,
        size: int,
        distance: Distance,
        *,
        index: IndexChoice = USUAL_INDEX,
        thumbnails: bool = False,
        heads: bool = False,
    ) -> None:
        """Make an empty collection."""
        check_name(name)
        check_kept(index, thumbnails, heads)
        if not 2 <= size <= MAX_SIZE:
            raise InvalidRequest(f"vectors.size: 2 to {MAX_SIZE} in Milvus, not {size}")
        graph = {
            "index_type": "HNSW",
            "metric_type": "L2" if distance == "Euclid" else "IP",  # stored vectors have unit length for Cosine
            "params": {"M": NEIGHBOURS, "efConstruction": BUILD_WIDTH},
        }
        with self._lock:
            self._catalogue.check_new(name)
            entry = Entry(name, f"amcl_{uuid4().hex}", size, distance)
            self._connection.make(entry.place, size, _FIELDS, graph)
            self._catalogue.put(entry)

    def drop(self, name: str) -> bool:
        """Remove a collection with its points."""
        with self._lock:
            entry = self._catalogue.forget(name)
            if entry is not None:
                self._connection.drop(entry.place)
        return entry is not None

    def names(self) -> list[str]:
        """The collections' names, sorted."""
        return self._catalogue.names()

    def describe(self, name: str) -> CollectionInfo:
        """Size, distance, model and number of points."""
        entry = self._catalogue.find(name)
        return entry.info(self._connection.count(entry.place))

    def size(self, name: str) -> int:
        """Components of the collection's vectors."""
        return self._catalogue.find(name).size

    def choose_model(self, name: str, models: Sequence[ModelRef]) -> int:
        """Index of the first of `models` whose images belong into the collection; else CollectionMismatch."""
        return choose_model(self._catalogue.find(name).info(), models)

    def upsert(self, name: str, points: Sequence[Point], *, model: ModelRef | None = None) -> int:
        """Write points; of those with the same id the last one stays. All or none of a page of them (see changing)."""
        with self._writing(name) as entry:
            rows = dict(encoded(points, entry.info()))
            if model is not None:
                require_model(entry.info(), model)
            largest = max((len(payload.encode()) for payload, _ in rows.values()), default=0)
            entry = self._written(entry, largest, model)
            changing.put(self._connection, entry, rows)
            return entry.version

    def delete(self, name: str, chosen: Chosen, *, budget: Budget | None = None) -> int:
        """Delete points."""
        with self._writing(name) as entry:
            predicate(chosen.where)  # which raises InvalidRequest
            entry = self._written(entry)
            changing.remove(self._connection, entry, chosen, budget)
            return entry.version

    def set_payload(
        self,
        name: str,
        chosen: Chosen,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        budget: Budget | None = None,
    ) -> int:
        """Give each point these members; with `key`, in the object that stands there."""
        members = orjson.loads(encode_payload(payload))
        if key is not None:
            json_path(key, "key")
        return self._rewrite(name, chosen, partial(payloads.with_members, members=members, key=key), budget)

    def overwrite_payload(
        self, name: str, chosen: Chosen, payload: Mapping[str, Any], *, budget: Budget | None = None
    ) -> int:
        """Give each point this payload in place of its own."""
        whole = orjson.loads(encode_payload(payload))
        return self._rewrite(name, chosen, lambda _: whole, budget)

    def delete_payload(self, name: str, chosen: Chosen, keys: Sequence[str], *, budget: Budget | None = None) -> int:
        """Take these keys out of each point's payload."""
        for index, key in enumerate(keys):
            json_path(key, f"keys[{index}]")
        return self._rewrite(name, chosen, partial(payloads.without, keys=keys), budget)

    def scroll(
        self,
        name: str,
        *,
        limit: int,
        start: PointId | None = None,
        where: Filter | None = None,
        budget: Budget | None = None,
    ) -> Page:
        """Points in the order of their ids."""
        check_limit(limit)
        entry = self._catalogue.find(name)
        first = "" if start is None else id_to_key(start)
        found: list[Record] = []
        pages = reading.matching(
            self._connection, entry, where, reading.WHOLE, start=first, budget=budget, most=limit + 1
        )
        for page in pages:
            found += map(reading.record, page[: limit + 1 - len(found)])
            if len(found) > limit:
                return Page(found[:limit], found[limit].id)
        return Page(found, None)

    def scroll_by(
        self, name: str, order: Order, *, limit: int, where: Filter | None = None, budget: Budget | None = None
    ) -> list[tuple[Record, float]]:
        """Points in the order of a number in their payload, with that number; one that has several comes once for each.

        InvalidRequest unless the field is indexed. Every point is looked at.
        """
        check_limit(limit)
        entry = self._catalogue.find(name)
        return fields.ordered(self._connection, entry, order, limit, where, budget)

    def sample(
        self, name: str, *, limit: int, where: Filter | None = None, budget: Budget | None = None
    ) -> list[Record]:
        """Points at random; the key of every point is looked at."""
        check_limit(limit)
        entry = self._catalogue.find(name)
        random = np.random.default_rng()
        pages = reading.matching(self._connection, entry, where, (), budget=budget)
        drawn = heapq.nsmallest(limit, ((random.random(), row["key"]) for page in pages for row in page))
        return list(self._by_key(entry, [key for _, key in drawn]).values())

    def count(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> int:
        """Number of points that the filter matches."""
        entry = self._catalogue.find(name)
        predicate(where)
        expression = narrowed(where)
        if expression.whole:
            return self._connection.count(entry.place, expression.text)
        return sum(map(len, reading.matching(self._connection, entry, where, (), budget=budget)))

    def get(self, name: str, point: PointId) -> Record:
        """One point."""
        return reading.point(self._connection, self._catalogue.find(name), point)

    def retrieve(self, name: str, points: Sequence[PointId]) -> list[Record]:
        """Those of the points that there are, in the order of their ids."""
        return reading.records(self._connection, self._catalogue.find(name), list(map(id_to_key, points)))

    def aliases(self, name: str | None = None) -> list[Alias]:
        """Those of one collection, or of all."""
        return self._catalogue.aliases_of(name)

    def change_aliases(self, actions: Sequence[CreateAlias | DeleteAlias | RenameAlias]) -> None:
        """All of them at once, or none."""
        with self._lock:
            self._catalogue.change_aliases(actions)

    def fields(self, name: str) -> list[Field]:
        """The indexed fields of the payloads, by name; where there are some, every payload is looked at."""
        return fields.described(self._connection, self._catalogue.find(name))

    def index_field(self, name: str, field: str, schema: str) -> int:
        """Note that points may be ordered by a field; Milvus keeps no index of it."""
        json_path(field, "field_name")
        with self._writing(name) as entry:
            if field not in entry.fields:
                self._catalogue.put(replace(entry, fields={**entry.fields, field: schema}))
            return entry.version

    def forget_field(self, name: str, field: str) -> int:
        """Index it no longer, if it was."""
        with self._writing(name) as entry:
            left = {each: schema for each, schema in entry.fields.items() if each != field}
            self._catalogue.put(replace(entry, fields=left))
            return entry.version

    def query(self, name: str, query: Query, *, budget: Budget | None = None) -> list[Hit]:
        """The nearest points, best first, ties in the order of their ids."""
        check_reach(query)
        return reading.hits(self._connection, self._catalogue.find(name), query, budget)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Entry]:
        with self._lock:
            yield self._catalogue.find(name)

    def _written(self, entry: Entry, largest: int = 0, model: ModelRef | None = None) -> Entry:
        """The entry of the next operation; recorded first, so that no point is newer than it or of another model."""
        entry = entry.written(largest, model)
        self._catalogue.put(entry)
        return entry

    def _rewrite(
        self, name: str, chosen: Chosen, change: Callable[[payloads.Payload], payloads.Payload], budget: Budget | None
    ) -> int:
        with self._writing(name) as entry:
            largest = changing.largest_after(self._connection, entry, chosen, change, budget)
            entry = self._written(entry, largest)
            changing.rewrite(self._connection, entry, chosen, change, budget)
            return entry.version

    def _by_key(self, entry: Entry, keys: Sequence[str]) -> dict[str, Record]:
        return {id_to_key(each.id): each for each in reading.records(self._connection, entry, keys)}
