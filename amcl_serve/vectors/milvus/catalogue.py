"""What there is: a small collection in Milvus with a row for each of ours, and one row with all aliases.

That the aliases are one row makes a change of several of them one write, which happens or does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson
from pymilvus import DataType

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest
from amcl_serve.vectors.milvus.connection import Connection
from amcl_serve.vectors.types import (
    Alias,
    CollectionInfo,
    CreateAlias,
    DeleteAlias,
    Distance,
    ModelRef,
    RenameAlias,
)
from amcl_serve.vectors.values import MAX_PAYLOAD_BYTES, check_name, is_name

_NAME = "amcl_collections"
_ALIASES = "aliases"
_NO_VECTOR = [0.0, 0.0]  # Milvus wants one in each row


@dataclass(frozen=True)
class Entry:
    """One of our collections: `place` is what Milvus calls it, whose names have no dots and hyphens."""

    name: str
    place: str
    size: int
    distance: Distance
    version: int = 0
    largest: int = 0  # bytes of a payload, at most
    model: str | None = None
    digest: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)  # schema by name of the fields that are indexed

    def info(self, points: int = 0) -> CollectionInfo:
        """As the store describes it."""
        model = None if self.digest is None else ModelRef(self.model or "", self.digest, self.size)
        return CollectionInfo(self.name, self.size, self.distance, model, points, in_graph=points)

    def written(self, payload: int = 0, model: ModelRef | None = None) -> Entry:
        """With the next operation's number; the size of its largest payload and the model are recorded."""
        entry = replace(self, version=self.version + 1, largest=max(self.largest, payload))
        return entry if model is None else replace(entry, model=model.name, digest=model.digest)


class Catalogue:
    """Reads are of what is there now; whoever writes holds the store's lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        if not connection.has(_NAME):
            connection.make(
                _NAME, len(_NO_VECTOR), {"value": DataType.JSON}, {"index_type": "FLAT", "metric_type": "L2"}
            )

    def find(self, name: str) -> Entry:
        """The collection called `name`, or by an alias of that name; raises CollectionNotFound."""
        if not is_name(name):
            raise CollectionNotFound(f"no collection {name!r}")
        values = self._values(_key(name), _ALIASES)
        if _key(name) not in values and name in values.get(_ALIASES, {}):
            values = self._values(_key(values[_ALIASES][name]))
        for key, value in values.items():
            if key != _ALIASES:
                return Entry(**value)
        raise CollectionNotFound(f"no collection {name!r}")

    def names(self) -> list[str]:
        """Of all collections, sorted."""
        pages = self._connection.pages(_NAME, "", ())
        return sorted(row["key"][2:] for page in pages for row in page if row["key"] != _ALIASES)

    def put(self, entry: Entry) -> None:
        """Write what is known of a collection."""
        self._write(_key(entry.name), asdict(entry))

    def check_new(self, name: str) -> None:
        """CollectionExists where the name is taken."""
        values = self._values(_key(name), _ALIASES)
        if _key(name) in values:
            raise CollectionExists(f"collection {name!r} exists already")
        if name in values.get(_ALIASES, {}):
            raise CollectionExists(f"{name!r} is an alias of another collection")

    def forget(self, name: str) -> Entry | None:
        """Remove the row of a collection, no alias, and its aliases; None if there is none."""
        values = self._values(_key(name), _ALIASES) if is_name(name) else {}
        if _key(name) not in values:
            return None
        aliases = values.get(_ALIASES, {})
        left = {alias: collection for alias, collection in aliases.items() if collection != name}
        if left != aliases:
            self._write(_ALIASES, left)
        self._connection.delete(_NAME, [_key(name)])
        return Entry(**values[_key(name)])

    def aliases(self) -> dict[str, str]:
        """All of them, and what they stand for."""
        found: dict[str, str] = self._values(_ALIASES).get(_ALIASES, {})
        return found

    def change_aliases(self, actions: Sequence[CreateAlias | DeleteAlias | RenameAlias]) -> None:
        """All of them at once, or none."""
        aliases = self.aliases()
        for action in actions:
            if isinstance(action, CreateAlias):
                self._refuse_taken(action.alias)
                collection = aliases.get(action.collection, action.collection)
                if not self._is(collection):
                    raise CollectionNotFound(f"no collection {collection!r}")
                aliases[action.alias] = collection
            elif isinstance(action, DeleteAlias):
                aliases.pop(action.alias, None)
            else:
                self._refuse_taken(action.new)
                if action.old not in aliases:
                    raise CollectionNotFound(f"no alias {action.old!r}")
                aliases[action.new] = aliases.pop(action.old)
        self._write(_ALIASES, aliases)

    def aliases_of(self, name: str | None) -> list[Alias]:
        """Those of one collection or of all, by name; raises CollectionNotFound."""
        only = None if name is None else self.find(name).name
        return [Alias(*each) for each in sorted(self.aliases().items()) if only in (None, each[1])]

    def _refuse_taken(self, alias: str) -> None:
        check_name(alias)
        if self._is(alias):
            raise CollectionExists(f"{alias!r} is the name of a collection, so no alias can have it")

    def _is(self, name: str) -> bool:
        return is_name(name) and bool(self._values(_key(name)))

    def _values(self, *keys: str) -> dict[str, Any]:
        return {row["key"]: row["value"] for row in self._connection.rows(_NAME, keys, ["value"])}

    def _write(self, key: str, value: Mapping[str, Any]) -> None:
        if len(orjson.dumps(value)) > MAX_PAYLOAD_BYTES:
            raise InvalidRequest("Milvus holds no more aliases, or indexed fields of a collection, than 64 KiB of JSON")
        self._connection.write(_NAME, iter([{"key": key, "vector": _NO_VECTOR, "value": value}]), len(_NO_VECTOR))


def _key(name: str) -> str:
    return f"c/{name}"
