"""The shapes of /collections, as pydantic models; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, StrictFloat, Tag, model_validator

from amcl_serve.errors import InvalidRequest
from amcl_serve.http.shapes.shape import Items, Shape
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH, Distance, PointId
from amcl_serve.vectors.values import MAX_SIZE, parse_point_id

Result = TypeVar("Result")


def _parse_id(value: object) -> PointId:
    try:
        return parse_point_id(value)
    except InvalidRequest as error:
        raise ValueError(error.detail) from None


Id = Annotated[Annotated[int, Field(ge=0, lt=1 << 64)] | UUID, BeforeValidator(_parse_id)]
Components = Items[StrictFloat]
Conditions = Annotated[dict[str, Any], Field(description="must, should, must_not: lists of conditions on the payload")]


class VectorParams(Shape, strict=True):
    """What the vectors of a collection are."""

    size: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = Field(None, description="default: the model's D")
    distance: Distance


class CreateRequest(Shape, strict=True):
    """Body of PUT /collections/{name}."""

    vectors: VectorParams


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


def _kind_of_query(value: object) -> str:
    return "vector" if isinstance(value, list) else "image" if isinstance(value, dict | ImageQuery) else "id"


class QueryRequest(QueryOptions, strict=True):
    """JSON body of POST …/points/query: the nearest to a vector, to a stored point, or to an image."""

    query: Annotated[
        Annotated[Components, Tag("vector")] | Annotated[Id, Tag("id")] | Annotated[ImageQuery, Tag("image")],
        Discriminator(_kind_of_query),
    ]


class QueryBatchRequest(Shape, strict=True):
    """Body of POST …/points/query/batch."""

    searches: Items[QueryRequest]


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


class Operation(BaseModel):
    """Result of a write; it is durable."""

    operation_id: int
    status: Literal["completed"]


class PointRecord(BaseModel):
    """A stored point; payload and vector are there if asked for."""

    id: Id
    payload: dict[str, Any] | None = None
    vector: list[float] | None = Field(None, description="of unit length in a Cosine collection")


class ScoredPoint(PointRecord):
    """A point that a query found."""

    version: int = Field(description="number of the operation that wrote it")
    score: float


class ScrollPage(BaseModel):
    """Result of …/scroll."""

    points: list[PointRecord]
    next_page_offset: Id | None


class Count(BaseModel):
    """Result of …/count."""

    count: int


class QueryResult(BaseModel):
    """Result of …/query."""

    points: list[ScoredPoint]


# Bodies that FastAPI sees as raw requests only.
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
