"""The shapes of points in collections; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, StrictFloat, Tag, model_validator

from amcl_serve.errors import InvalidRequest
from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.vectors.types import MAX_LIMIT, PointId
from amcl_serve.vectors.values import parse_point_id


def _parse_id(value: object) -> PointId:
    try:
        return parse_point_id(value)
    except InvalidRequest as error:
        raise ValueError(error.detail) from None


Id = Annotated[Annotated[int, Field(ge=0, lt=1 << 64)] | UUID, BeforeValidator(_parse_id)]
Components = Items[StrictFloat]
Names = Items[str]


class Included(Shape, strict=True):
    """These members of the payload alone."""

    include: Names


class Excluded(Shape, strict=True):
    """All members of the payload but these."""

    exclude: Names


Selector = bool | Names | Included | Excluded
Conditions = Annotated[dict[str, Any], Field(description="must, should, must_not: lists of conditions on the payload")]


class ImageBody(Shape, strict=True):
    """An image in place of a vector, as Qdrant's clients write it."""

    image: str = Field(description="base64 or data URI; URLs are not fetched")
    model: str | None = Field(None, description="by default the collection's own")
    options: dict[str, Any] | None = Field(None, description="of other servers' models; not read")


def _kind_of_vector(value: object) -> str:
    return "<vector>" if isinstance(value, list) else "<image>"


VectorOrImage = Annotated[
    Annotated[Components, Tag("<vector>")] | Annotated[ImageBody, Tag("<image>")], Discriminator(_kind_of_vector)
]


class PointBody(Shape, strict=True):
    """A point to be stored, by its vector or by an image that the server embeds."""

    id: Id
    vector: VectorOrImage | None = None
    image: str | None = Field(None, description="base64 or data URI; URLs are not fetched")
    payload: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PointBody:
        if (self.vector is None) == (self.image is None):
            raise ValueError("a point has either a vector or an image")
        return self


class Batch(Shape, strict=True):
    """Points in columns, as many in each."""

    ids: Items[Id]
    vectors: Items[VectorOrImage]
    payloads: Items[dict[str, Any] | None] | None = None

    @model_validator(mode="after")
    def _as_many_in_each(self) -> Batch:
        lengths = {len(self.ids), len(self.vectors), len(self.ids if self.payloads is None else self.payloads)}
        if len(lengths) > 1:
            raise ValueError("ids, vectors and payloads: as many in each")
        return self


class UpsertRequest(Shape, strict=True):
    """JSON body of PUT …/points: points one by one, or in columns."""

    points: Items[PointBody] = Field(default_factory=list)
    batch: Batch | None = None

    @model_validator(mode="after")
    def _one_form(self) -> UpsertRequest:
        if ("points" in self.model_fields_set) == (self.batch is not None):
            raise ValueError("say either points or batch")
        return self


class FilePoint(Shape, strict=True):
    """A point of a multipart upsert: its image is the file at the same place in `files`."""

    id: Id
    payload: dict[str, Any] | None = None


class OrderBy(Shape, strict=True):
    """By the numbers of an indexed field."""

    key: str
    direction: Literal["asc", "desc"] = "asc"
    start_from: Annotated[float, Field(allow_inf_nan=False)] | None = None


class ScrollRequest(Shape, strict=True):
    """Body of POST …/points/scroll."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    offset: Id | None = Field(None, description="the next_page_offset of the page before")
    filter: Conditions | None = None
    with_payload: Selector = True
    with_vector: bool = False
    order_by: str | OrderBy | None = Field(None, description="an indexed field; there is no next page then")

    @model_validator(mode="after")
    def _one_order(self) -> ScrollRequest:
        if self.order_by is not None and self.offset is not None:
            raise ValueError("offset is of the order of ids; with order_by go on by start_from")
        return self


class RetrieveRequest(Shape, strict=True):
    """Body of POST …/points."""

    ids: Items[Id]
    with_payload: Selector = True
    with_vector: bool = False


class _Choice(Shape, strict=True):
    """Points: by their ids, or all that a filter matches."""

    points: Items[Id] | None = None
    filter: Conditions | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.points is None) == (self.filter is None):
            raise ValueError("say either points, a list of ids, or a filter")
        return self


class DeleteRequest(_Choice, strict=True):
    """Body of POST …/points/delete and …/points/payload/clear."""


class SetPayloadRequest(_Choice, strict=True):
    """Body of POST and PUT …/points/payload."""

    payload: dict[str, Any]
    key: str | None = Field(None, description="POST alone: an object in the payload, in which the members are set")


class DeletePayloadRequest(_Choice, strict=True):
    """Body of POST …/points/payload/delete."""

    keys: Items[str]


class CountRequest(Shape, strict=True):
    """Body of POST …/points/count."""

    filter: Conditions | None = None
    exact: bool = Field(True, description="counts are always exact")


class Operation(BaseModel):
    """Result of a write; it is durable."""

    operation_id: int
    status: Literal["completed"]


class PointRecord(BaseModel):
    """A stored point; payload and vector are there if asked for."""

    id: Id
    payload: dict[str, Any] | None = None
    vector: list[float] | None = Field(None, description="of unit length in a Cosine collection")
    order_value: float | None = Field(None, description="what it is ordered by, with `order_by`")


class ScrollPage(BaseModel):
    """Result of …/scroll."""

    points: list[PointRecord]
    next_page_offset: Id | None


class Count(BaseModel):
    """Result of …/count."""

    count: int


_FILE = {"type": "string", "format": "binary"}
POINTS_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/UpsertRequest"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files", "points"],
                "properties": {
                    "files": {"type": "array", "items": _FILE},
                    "points": {
                        "type": "string",
                        "description": "JSON: [{id, payload}, …], one for each file, in order",
                    },
                },
            }
        },
    },
}
