"""The shapes of snapshots; names are Qdrant's."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from amcl_serve.http.shapes.base import Shape


class SnapshotDescription(BaseModel):
    """A file with a copy of a collection."""

    name: str
    creation_time: str | None = Field(description="UTC")
    size: int = Field(description="bytes")
    checksum: str | None = Field(description="SHA-256 of the file, hexadecimal")


class RecoverRequest(Shape, strict=True):
    """Body of PUT …/snapshots/recover."""

    location: str = Field(description="the snapshot's name, or this server's URL of it")
    checksum: Annotated[str, Field(pattern="^[0-9A-Fa-f]{64}$")] | None = Field(None, description="SHA-256 of the file")
    priority: str | None = Field(None, description="of Qdrant's replicas; not read")
    api_key: str | None = Field(None, description="of other servers; not read")
