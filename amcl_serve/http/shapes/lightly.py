"""The shapes of the protocol by which LightlyStudio asks a server for embeddings, version 1.0."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from amcl_serve.http.shapes.base import Shape


class LightlyLimits(Shape):
    """What a client's batches have to stay within."""

    max_batch_size: int = Field(description="images of a request")
    max_request_bytes: int


class LightlyDescription(Shape):
    """Answer of GET /v1/describe."""

    protocol_version: Literal["1.0"] = "1.0"
    space_key: str = Field(description="the default model's name and digest: vectors of different keys do not compare")
    dimension: int = Field(description="D")
    ready: bool
    capabilities: list[Literal["image_bytes"]]
    limits: LightlyLimits


class LightlyEmbeddings(Shape):
    """Answer of /v1/embed/images/bytes."""

    space_key: str
    dimension: int
    kept_indices: list[int] = Field(description="of the files that could be embedded, in their order")
    embeddings: list[list[float]] = Field(description="their features [D] of unit norm")
