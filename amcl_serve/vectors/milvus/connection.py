"""Requests to Milvus: each has a time limit, sees every acknowledged write, and fails with the project's errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import grpc
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import ErrorCode, MilvusException

from amcl_serve.errors import AmclError, CollectionNotFound, NotReady, Overloaded, StorageFull
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.milvus.expressions import with_keys
from amcl_serve.vectors.values import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from amcl_serve.vectors.types import Vectors

Row = dict[str, Any]  # by the fields' names; `key` is always there

MAX_FOUND = 16_384  # rows of one answer, as Milvus is configured by default
_SECONDS = 10  # for which one request is waited
_PAYLOAD_BYTES = 48 * 1024 * 1024  # of a page: Milvus refuses requests of more than 64 MiB, configured as by default
_VECTOR_BYTES = 8 * 1024 * 1024  # of a page; Python's numbers take eight times as much
_STRONG = "Strong"
_NOT_LOADED = 101  # the code of that error

_log = logging.getLogger(__name__)
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each error with all its causes, and so do we, once


class Connection:
    """A client of one Milvus; safe to call from several threads."""

    def __init__(self, address: str) -> None:
        """`address` is host:port; raises NotReady where no Milvus answers there."""
        self._closed = False
        with self._asking("connect"):
            self._client = MilvusClient(uri=f"http://{address}", timeout=_SECONDS, dedicated=True)

    def close(self) -> None:
        """Every later request raises NotReady."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def make(self, collection: str, size: int, fields: Mapping[str, DataType], index: Mapping[str, Any]) -> None:
        """A collection of rows with `key`, `vector` [size] and these fields, ready to be searched."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, max_length=256, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=size)
        for name, kind in fields.items():
            schema.add_field(name, kind)
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("vector", **index)
        with self._asking("create a collection"):
            self._client.create_collection(collection, schema=schema, consistency_level=_STRONG, timeout=_SECONDS)
            self._client.create_index(collection, indexes, timeout=_SECONDS, sync=False)  # there is nothing in it yet
            self._client.load_collection(collection, timeout=_SECONDS)

    def has(self, collection: str) -> bool:
        """Whether there is such a collection."""
        with self._asking("look for a collection"):
            return bool(self._client.has_collection(collection, timeout=_SECONDS))

    def drop(self, collection: str) -> None:
        """Remove a collection; none there is no error."""
        with self._asking("drop a collection"):
            self._client.drop_collection(collection, timeout=_SECONDS)

    def count(self, collection: str, expression: str = "") -> int:
        """Number of rows that fit."""
        with self._asking("count"):
            found = self._read(self._client.query, collection, filter=expression, output_fields=["count(*)"])
            return int(found[0]["count(*)"])

    def rows(self, collection: str, keys: Sequence[str], fields: Sequence[str], size: int = 0) -> list[Row]:
        """Those of these rows that there are, by key; `size` as of `pages`."""
        found: list[Row] = []
        for part in _parts(sorted(set(keys)), page_rows(size)):
            with self._asking("read"):
                found += self._read(
                    self._client.query, collection, filter=with_keys(part), output_fields=["key", *fields]
                )
        return sorted(found, key=_key)

    def pages(
        self,
        collection: str,
        expression: str,
        fields: Sequence[str],
        *,
        size: int = 0,
        payload: int = MAX_PAYLOAD_BYTES,
        most: int | None = None,
        budget: Budget | None = None,
    ) -> Iterator[list[Row]]:
        """The rows that fit, by key, some at a time, `most` or all; `size` is that of their vectors, and `payload`
        of the largest payload, if read.

        Milvus reads all of them as they were when the first were read. DeadlineExceeded when the budget is spent.
        """
        length = page_rows(size, payload if "payload" in fields else 0)
        with self._asking("read"):
            reading = self._read(
                self._client.query_iterator,
                collection,
                batch_size=length if most is None else min(length, most),
                limit=-1 if most is None else most,
                filter=expression,
                output_fields=["key", *fields],
            )
        last = ""
        try:
            while True:
                if budget is not None and budget.spent:
                    raise budget.exceeded()
                with self._asking("read"):
                    page: list[Row] = reading.next()
                if not page:
                    return
                page.sort(key=_key)
                if page[0]["key"] <= last:  # it promises to go by keys, and nothing here is right if it does not
                    raise NotReady("Milvus gave points twice; ask again")
                last = page[-1]["key"]
                yield page
        finally:
            reading.close()

    def write(self, collection: str, rows: Iterator[Row], size: int) -> None:
        """Write rows, in place of those with the same keys, some at a time."""
        while part := list(islice(rows, page_rows(size))):
            with self._asking("write"):
                self._client.upsert(collection, part, timeout=_SECONDS)

    def delete(self, collection: str, keys: Sequence[str]) -> None:
        """Delete rows; one that is not there is no error."""
        for part in _parts(keys, MAX_FOUND):
            with self._asking("delete"):
                self._client.delete(collection, ids=list(part), timeout=_SECONDS)

    def search(self, collection: str, vector: Vectors, count: int, expression: str, width: int) -> list[Row]:
        """About the `count` best rows that fit, with their vectors, as Milvus' index finds them."""
        with self._asking("search"):
            (found,) = self._read(
                self._client.search,
                collection,
                data=[vector],
                filter=expression,
                limit=min(count, MAX_FOUND),
                output_fields=["vector"],
                search_params={"params": {"ef": max(width, count)}},
            )
            return [{"key": each["key"], "vector": each["entity"]["vector"]} for each in found]

    def _read(self, ask: Callable[..., Any], collection: str, **options: Any) -> Any:
        """What Milvus answers; a collection that it has let out of its memory is loaded first."""
        options |= {"timeout": _SECONDS, "consistency_level": _STRONG}
        try:
            return ask(collection, **options)
        except MilvusException as error:
            if error.code != _NOT_LOADED:
                raise
        self._client.load_collection(collection, timeout=_SECONDS)
        return ask(collection, **options)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        if self._closed:
            raise NotReady("the collections are closed")
        try:
            yield
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
            if self._closed:
                raise NotReady("the collections are closed") from None
            raise _meaning(error, what) from None


def page_rows(size: int, payload: int = MAX_PAYLOAD_BYTES) -> int:
    """Rows that one request or answer can hold, with vectors of that size and payloads of so many bytes."""
    return min(MAX_FOUND, _PAYLOAD_BYTES // (payload + 256), _VECTOR_BYTES // (4 * size + 1))


def _meaning(error: Exception, what: str) -> AmclError:
    """The error that a caller sees; what Milvus says is for the log."""
    code = getattr(error, "code", None)
    if code == ErrorCode.COLLECTION_NOT_FOUND:
        return CollectionNotFound("the collection was removed meanwhile")
    _log.error("Milvus could not %s: %s", what, error.details() if isinstance(error, grpc.RpcError) else error)
    if code == ErrorCode.RATE_LIMIT:
        return Overloaded("Milvus is given more than it takes at a time; try again soon")
    if code == ErrorCode.FORCE_DENY:
        return StorageFull("Milvus has no room for more")
    return NotReady(f"Milvus could not {what}, or did not answer in {_SECONDS} s; try again soon")


def _parts(keys: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), length):
        yield keys[start : start + length]


def _key(row: Row) -> str:
    key: str = row["key"]
    return key
