"""What a vector store answers, whichever engine is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import (
    Alias,
    Chosen,
    CollectionInfo,
    CollectionSnapshot,
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
    Vectors,
)


class VectorStore(Protocol):
    """Synchronous and safe to call from several threads; a write is durable when its call returns.

    A collection that does not exist raises CollectionNotFound, bad values InvalidRequest, a full disk StorageFull, work
    that its budget does not suffice for DeadlineExceeded.
    """

    def check(self) -> None:
        """NotReady or StorageDamaged where it could not do its work."""

    def create(
        self,
        name: str,
        size: int,
        distance: Distance,
        *,
        index: IndexChoice = ...,
        thumbnails: bool = False,
        heads: bool = False,
    ) -> None:
        """Make an empty collection, which keeps what is said of its images; raises CollectionExists."""

    def drop(self, name: str) -> bool:
        """Remove a collection with its points; False if there was none."""

    def names(self) -> list[str]:
        """The collections' names, sorted."""

    def describe(self, name: str) -> CollectionInfo:
        """Size, distance, model and number of points."""

    def size(self, name: str) -> int:
        """Components of the collection's vectors."""

    def upsert(self, name: str, points: Sequence[Point], *, model: ModelRef | None = None) -> int:
        """Write all points or none; returns the operation's number.

        `model` is what embedded the points that were images: the first such write records it, later ones must
        name the same digest, else CollectionMismatch.
        """

    def delete(self, name: str, chosen: Chosen, *, budget: Budget | None = None) -> int:
        """Delete points; returns the operation's number."""

    def set_payload(
        self,
        name: str,
        chosen: Chosen,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        budget: Budget | None = None,
    ) -> int:
        """Give each point these members of its payload; with `key`, of the object there. The operation's number."""

    def overwrite_payload(
        self, name: str, chosen: Chosen, payload: Mapping[str, Any], *, budget: Budget | None = None
    ) -> int:
        """Give each point this payload in place of its own; returns the operation's number."""

    def delete_payload(self, name: str, chosen: Chosen, keys: Sequence[str], *, budget: Budget | None = None) -> int:
        """Take these keys out of each point's payload; returns the operation's number."""

    def scroll(
        self,
        name: str,
        *,
        limit: int,
        start: PointId | None = None,
        where: Filter | None = None,
        budget: Budget | None = None,
    ) -> Page:
        """Points in the order of their ids (integers before UUIDs), from `start` on."""

    def scroll_by(
        self, name: str, order: Order, *, limit: int, where: Filter | None = None, budget: Budget | None = None
    ) -> list[tuple[Record, float]]:
        """Points in the order of a number in their payload, which is indexed, with that number."""

    def sample(
        self, name: str, *, limit: int, where: Filter | None = None, budget: Budget | None = None
    ) -> list[Record]:
        """Points at random, in no order."""

    def count(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> int:
        """Number of points that the filter matches."""

    def scan(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> Scan:
        """All points that the filter matches, to be read bit by bit, within the budget."""

    def get(self, name: str, point: PointId) -> Record:
        """One point; raises PointNotFound."""

    def retrieve(self, name: str, points: Sequence[PointId]) -> list[Record]:
        """Those of the points that there are, in the order of their ids."""

    def thumbnail(self, name: str, point: PointId) -> bytes | None:
        """A point's, if it has one; raises PointNotFound."""

    def heads(self, name: str, points: Sequence[PointId]) -> dict[PointId, Vectors]:
        """Of those of the points that have them, each float32 [C · d']."""

    def aliases(self, name: str | None = None) -> list[Alias]:
        """Those of one collection, or of all."""

    def change_aliases(self, actions: Sequence[CreateAlias | DeleteAlias | RenameAlias]) -> None:
        """All of them at once, or none."""

    def fields(self, name: str) -> list[Field]:
        """The indexed fields of the payloads, by name."""

    def index_field(self, name: str, field: str, schema: str) -> int:
        """Index a field; one that is indexed already is no error. Returns when it is filled, the operation's number."""

    def forget_field(self, name: str, field: str) -> int:
        """Index it no longer, if it was; returns the operation's number."""

    def create_snapshot(self, name: str) -> CollectionSnapshot:
        """Copy the collection into a file."""

    def snapshots(self, name: str) -> list[CollectionSnapshot]:
        """Those of the collection, the oldest first."""

    def snapshot_file(self, name: str, snapshot: str) -> Path:
        """Where a snapshot lies; raises SnapshotNotFound."""

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove it; raises SnapshotNotFound."""

    def recover(self, name: str, snapshot: str, *, of: str | None = None, checksum: str | None = None) -> None:
        """Let the collection, which need not exist, be what a snapshot of it (or of the collection `of`) says."""

    def query(self, name: str, query: Query, *, budget: Budget | None = None) -> list[Hit]:
        """The nearest points, best first, ties in the order of their ids."""

    def close(self) -> None:
        """Let go of the data; every later call raises NotReady."""
