"""The shapes of /collections; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from amcl_serve.http.shapes.base import Shape
from amcl_serve.vectors.types import Distance
from amcl_serve.vectors.values import MAX_SIZE

Result = TypeVar("Result")


class VectorParams(Shape, strict=True):
    """What the vectors of a collection are."""

    size: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = Field(None, description="default: the model's D")
    distance: Distance


class CreateRequest(Shape, strict=True):
    """Body of PUT /collections/{name}."""

    vectors: VectorParams


class Envelope(BaseModel, Generic[Result]):
    """Every answer of /collections."""

    result: Result
    status: Literal["ok"]
    time: float = Field(description="seconds")


class CollectionName(BaseModel):
    """One line of the list."""

    name: str


class CollectionList(BaseModel):
    """Result of GET /collections."""

    collections: list[CollectionName]


class StoredParams(BaseModel):
    """Size and distance of the vectors."""

    size: int
    distance: Distance


class Params(BaseModel):
    """Qdrant's nesting."""

    vectors: StoredParams


class Config(BaseModel):
    """Qdrant's nesting."""

    params: Params


class EmbeddedBy(BaseModel):
    """The model whose images the collection holds."""

    name: str
    digest: str


class CollectionDetail(BaseModel):
    """Result of GET /collections/{name}."""

    status: Literal["green"]
    points_count: int
    config: Config
    model: EmbeddedBy | None = Field(description="null until an image is embedded into the collection")
