"""What collections in Milvus do not do: each says so by its name."""

# ruff: noqa: ARG002
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.types import USUAL_INDEX, CollectionSnapshot, Filter, IndexChoice, PointId, Vectors

if TYPE_CHECKING:
    from amcl_serve.vectors.scan import Scan


class Lacking:
    """The methods of a VectorStore that all raise InvalidRequest."""

    def create_snapshot(self, name: str) -> CollectionSnapshot:
        """Milvus has backups of its own."""
        _refuse("snapshots")

    def snapshots(self, name: str) -> list[CollectionSnapshot]:
        """There are none."""
        _refuse("snapshots")

    def snapshot_file(self, name: str, snapshot: str) -> Path:
        """There is none."""
        _refuse("snapshots")

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """There is none."""
        _refuse("snapshots")

    def recover(self, name: str, snapshot: str, *, of: str | None = None, checksum: str | None = None) -> None:
        """There is nothing to recover from."""
        _refuse("snapshots")

    def thumbnail(self, name: str, point: PointId) -> bytes | None:
        """There is none."""
        _refuse("thumbnails")

    def heads(self, name: str, points: Sequence[PointId]) -> dict[PointId, Vectors]:
        """There are none."""
        _refuse("heads")

    def scan(self, name: str, where: Filter | None = None, *, budget: Budget | None = None) -> Scan:
        """It would read every vector over the network."""
        _refuse("duplicates, outliers and diverse subsets")


def check_kept(index: IndexChoice, thumbnails: bool, heads: bool) -> None:
    """InvalidRequest for a collection that would want more than there is."""
    if index != USUAL_INDEX:
        _refuse("a choice of the index")
    if thumbnails or heads:
        _refuse("thumbnails" if thumbnails else "heads")


def _refuse(what: str) -> NoReturn:
    raise InvalidRequest(f"this server keeps its collections in Milvus, where there is nothing like this: {what}")
