"""The shapes of searches; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Discriminator, Field, Tag

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.http.shapes.points import Components, Conditions, Id, PointRecord
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH


def _kind_of_query(value: object) -> str:
    return "vector" if isinstance(value, list) else "image" if isinstance(value, dict | ImageQuery) else "id"


class ImageQuery(Shape, strict=True):
    """The image to search by."""

    image: str = Field(description="base64 or data URI; URLs are not fetched")


class SearchParams(Shape, strict=True):
    """How to search."""

    exact: bool = Field(True, description="this version's search is always exact")


class QueryOptions(Shape):
    """What a query returns; the fields of a multipart query (`filter` and `params` as JSON text)."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    offset: Annotated[int, Field(ge=0, le=MAX_REACH)] = Field(0, description=f"limit + offset is at most {MAX_REACH}")
    score_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="the lowest score of an answer; for Euclid the largest distance"
    )
    filter: Conditions | None = None
    with_payload: bool = False
    with_vector: bool = False
    params: SearchParams | None = None


class QueryRequest(QueryOptions, strict=True):
    """JSON body of POST …/points/query: the nearest to a vector, to a stored point, or to an image."""

    query: Annotated[
        Annotated[Components, Tag("vector")] | Annotated[Id, Tag("id")] | Annotated[ImageQuery, Tag("image")],
        Discriminator(_kind_of_query),
    ]


class QueryBatchRequest(Shape, strict=True):
    """Body of POST …/points/query/batch."""

    searches: Items[QueryRequest]


class ScoredPoint(PointRecord):
    """A point that a query found."""

    version: int = Field(description="number of the operation that wrote it")
    score: float


class QueryResult(BaseModel):
    """Result of …/query."""

    points: list[ScoredPoint]


_FILE = {"type": "string", "format": "binary"}
QUERY_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/QueryRequest"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": _FILE,
                    "limit": {"type": "integer"},
                    "offset": {"type": "integer"},
                    "score_threshold": {"type": "number"},
                    "filter": {"type": "string", "description": "JSON"},
                    "with_payload": {"type": "boolean"},
                    "with_vector": {"type": "boolean"},
                    "params": {"type": "string", "description": "JSON"},
                },
            }
        },
    },
}
