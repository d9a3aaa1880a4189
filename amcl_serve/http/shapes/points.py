"""The shapes of points in collections; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, StrictFloat, model_validator

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
Conditions = Annotated[dict[str, Any], Field(description="must, should, must_not: lists of conditions on the payload")]


class PointBody(Shape, strict=True):
    """A point to be stored, by its vector or by an image that the server embeds."""

    id: Id
    vector: Components | None = None
    image: str | None = Field(None, description="base64 or data URI; URLs are not fetched")
    payload: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PointBody:
        if (self.vector is None) == (self.image is None):
            raise ValueError("a point has either a vector or an image")
        return self


class UpsertRequest(Shape, strict=True):
    """JSON body of PUT …/points."""

    points: Items[PointBody]


class FilePoint(Shape, strict=True):
    """A point of a multipart upsert: its image is the file at the same place in `files`."""

    id: Id
    payload: dict[str, Any] | None = None


class DeleteRequest(Shape, strict=True):
    """Body of POST …/points/delete: ids or a filter."""

    points: Items[Id] | None = None
    filter: Conditions | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> DeleteRequest:
        if (self.points is None) == (self.filter is None):
            raise ValueError("say either points, a list of ids, or a filter")
        return self


class ScrollRequest(Shape, strict=True):
    """Body of POST …/points/scroll."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    offset: Id | None = Field(None, description="the next_page_offset of the page before")
    filter: Conditions | None = None
    with_payload: bool = True
    with_vector: bool = False


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
