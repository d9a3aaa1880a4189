"""The values that go into a vector store and come out, whichever engine is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson

from amcl_serve.errors import CollectionMismatch

Distance = Literal["Cosine", "Dot", "Euclid"]
PointId = int | UUID  # an unsigned 64-bit integer or a UUID
Filter = Mapping[str, Any]  # Qdrant's: must, should, must_not (see filters.py)
Vector = Sequence[float] | npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]  # numbers of stored points [N]
Vectors = npt.NDArray[np.float32]  # of points, [N, size], or of one, [size]

NO_PAYLOAD = "{}"  # of a record whose payload was not asked for
MAX_LIMIT = 1000  # points of one answer
MAX_REACH = 10_000  # limit + offset of a query


@dataclass(frozen=True)
class ModelRef:
    """The model that embeds a collection's images: the card's name, the bundle's digest, the features' size D."""

    name: str
    digest: str
    size: int


IndexKind = Literal["auto", "exact", "hnsw", "ivf"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class IndexChoice:
    """How a large collection is searched, and what its index keeps of each number; the store keeps float32.

    auto: exact while it is small, then hnsw.
    """

    kind: IndexKind = "auto"
    precision: Precision = "float32"

    @property
    def coded(self) -> bool:
        """Whether the index has codes in place of the vectors."""
        return self.kind == "ivf" or self.precision != "float32"


USUAL_INDEX = IndexChoice()


@dataclass(frozen=True)
class CollectionInfo:
    """A collection: `model` is None until an image is embedded into it."""

    name: str
    size: int
    distance: Distance
    model: ModelRef | None
    points: int
    index: IndexChoice = USUAL_INDEX
    in_graph: int = 0  # points that are searched for approximately
    thumbnails: bool = False  # whether those of its images are kept
    heads: bool = False  # whether those of its images are kept, which all its points then are

    @property
    def used(self) -> Literal["exact", "hnsw", "ivf"]:
        """How most of the points are searched now."""
        if not self.in_graph:
            return "exact"
        return "ivf" if self.index.kind == "ivf" else "hnsw"


@dataclass(frozen=True)
class Point:
    """A point to be stored; `vector` [size]. Of an image, for a collection that keeps them: `thumbnail`, a file, and
    `heads` [C, d'].
    """

    id: PointId
    vector: Vector
    payload: Mapping[str, Any]
    thumbnail: bytes | None = None
    heads: npt.NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True)
class Chosen:
    """Points: those with these ids, as far as there are any, and those that the filter matches."""

    ids: Sequence[PointId] = ()
    where: Filter | None = None


class Record(NamedTuple):
    """A stored point; `version` is the number of the operation that wrote it, `vector` float32 [size]."""

    id: PointId
    version: int
    vector: npt.NDArray[np.float32]
    payload_json: str

    @property
    def payload(self) -> dict[str, Any]:
        """The payload, read anew each time: many of them take longer to read than to find."""
        payload: dict[str, Any] = orjson.loads(self.payload_json)
        return payload


class Hit(NamedTuple):
    """A point that a query found; higher scores are better for Cosine and Dot, lower ones for Euclid."""

    score: np.float32
    record: Record


@dataclass(frozen=True)
class Examples:
    """What is to be like the positive examples, of which there is one at least, and not like the negative ones: nearest
    to the mean of the positive, moved as far again from the mean of the negative. Points are given by their ids.
    """

    positive: Sequence[Vector | PointId]
    negative: Sequence[Vector | PointId] = ()


@dataclass(frozen=True)
class Query:
    """The `limit` best points after the `offset` best; points that are searched by, by their ids, are left out."""

    target: Vector | PointId | Examples
    limit: int = 10
    offset: int = 0
    score_threshold: float | None = None
    filter: Filter | None = None
    exact: bool = False  # look at every vector, where else a graph of near neighbours is followed
    width: int | None = None  # of that graph's search (efSearch): more finds more, and takes longer
    payload: bool = True  # whether records need their payloads; without, they may have {}, which is faster


@dataclass(frozen=True)
class Order:
    """By the numbers that payloads have at `key`, from `start` on."""

    key: str
    descending: bool = False
    start: float | None = None


@dataclass(frozen=True)
class Field:
    """A payload's field that is indexed, Qdrant's `schema` for it, and its values; `filled` once all are entered."""

    name: str
    schema: str
    filled: bool
    points: int


@dataclass(frozen=True)
class CollectionSnapshot:
    """A copy of a collection in a file of `size` bytes; `checksum` is its SHA-256, hexadecimal."""

    name: str
    created: datetime
    size: int
    checksum: str | None


@dataclass(frozen=True)
class Alias:
    """A second name of a collection."""

    alias: str
    collection: str


@dataclass(frozen=True)
class CreateAlias(Alias):
    """Let the alias stand for the collection, whatever it stood for before."""


@dataclass(frozen=True)
class DeleteAlias:
    """Forget the alias, if there is one."""

    alias: str


@dataclass(frozen=True)
class RenameAlias:
    """Call the alias by another name."""

    old: str
    new: str


@dataclass(frozen=True)
class Page:
    """Records in the order of their ids, and the id that the next page starts with."""

    records: list[Record]
    next_offset: PointId | None


def require_model(collection: CollectionInfo, model: ModelRef) -> None:
    """Raise CollectionMismatch unless images embedded by `model` belong into `collection`."""
    why = _why_not(collection, model)
    if why is not None:
        raise CollectionMismatch(why)


def choose_model(collection: CollectionInfo, models: Sequence[ModelRef]) -> int:
    """Index of the first of `models` whose images belong into `collection`; else CollectionMismatch about the first."""
    for index, model in enumerate(models):
        if _why_not(collection, model) is None:
            return index
    raise CollectionMismatch(_why_not(collection, models[0]) or "")


def _why_not(collection: CollectionInfo, model: ModelRef) -> str | None:
    if collection.model is not None and collection.model.digest != model.digest:
        return (
            f"collection {collection.name!r} holds images embedded by {collection.model.name} "
            f"({collection.model.digest}), not by {model.name} ({model.digest}): "
            "ask for that model, load it, or index the images into a new collection"
        )
    if collection.size != model.size:
        return (
            f"collection {collection.name!r} holds vectors of size {collection.size}, "
            f"the model {model.name} embeds images to size {model.size}"
        )
    return None
