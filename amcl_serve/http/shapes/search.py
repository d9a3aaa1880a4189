"""The shapes of searches; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.http.shapes.points import Components, Conditions, Id, ImageBody, OrderBy, PointRecord, Selector
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH

CANDIDATES = 100  # that are reranked where nothing else is asked for


def _kind_of_example(value: object) -> str:
    return "<vector>" if isinstance(value, list) else "<image>" if isinstance(value, dict | ImageBody) else "<id>"


Example = Annotated[
    Annotated[Components, Tag("<vector>")] | Annotated[Id, Tag("<id>")] | Annotated[ImageBody, Tag("<image>")],
    Discriminator(_kind_of_example),
]


class NearestQuery(Shape, strict=True):
    """The points nearest to something."""

    nearest: Example


class Recommendation(Shape, strict=True):
    """What answers are to be like, and what not."""

    positive: Items[Example] = Field(default_factory=list)
    negative: Items[Example] = Field(default_factory=list)
    strategy: Literal["average_vector"] | None = Field(None, description="nearest to 2 mean(positive) - mean(negative)")


class RecommendQuery(Shape, strict=True):
    """The points that are like some and not like others."""

    recommend: Recommendation


class OrderByQuery(Shape, strict=True):
    """Points in the order of an indexed field."""

    order_by: str | OrderBy


class SampleQuery(Shape, strict=True):
    """Points drawn at random."""

    sample: Literal["random"]


_QUERIES = {"nearest": NearestQuery, "recommend": RecommendQuery, "order_by": OrderByQuery, "sample": SampleQuery}


def _kind_of_query(value: object) -> str:
    if isinstance(value, dict):
        return next((f"<{kind}>" for kind in _QUERIES if kind in value), "<image>")
    kind = next((f"<{kind}>" for kind, shape in _QUERIES.items() if isinstance(value, shape)), None)
    return kind or _kind_of_example(value)


class SearchParams(Shape, strict=True):
    """How to search."""

    exact: bool | None = Field(
        None, description="true: look at every vector; else large collections are searched by a graph"
    )
    hnsw_ef: Annotated[int, Field(ge=1, le=MAX_REACH)] | None = Field(
        None, description="vectors that the search by a graph keeps in view; more find more, and take longer"
    )
    indexed_only: bool | None = Field(None, description="not read: all points are searched")


class QueryOptions(Shape):
    """What a query returns; the fields of a multipart query (`filter` and `params` as JSON text)."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    offset: Annotated[int, Field(ge=0, le=MAX_REACH)] = Field(0, description=f"limit + offset is at most {MAX_REACH}")
    score_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="the lowest score of an answer; for Euclid the largest distance"
    )
    filter: Conditions | None = None
    with_payload: Selector = False
    with_vector: bool = False
    params: SearchParams | None = None
    rerank: Literal["pairs"] | None = Field(
        None, description="of a query by an image: order the best by their score as pairs with it, head by head"
    )
    candidates: Annotated[int, Field(ge=1, le=MAX_LIMIT)] | None = Field(
        None, description=f"how many of the best are reranked; by default {CANDIDATES}, or limit + offset if more"
    )

    @model_validator(mode="after")
    def _of_a_rerank(self) -> Self:
        if self.rerank is None and self.candidates is not None:
            raise ValueError("candidates are those of a rerank: say rerank too, or leave them out")
        if self.rerank is not None and self.limit + self.offset > (self.candidates or MAX_LIMIT):
            raise ValueError(
                f"limit + offset: at most as many as are reranked, {self.candidates or MAX_LIMIT}; "
                f"candidates are at most {MAX_LIMIT}"
            )
        return self


Asked = Annotated[
    Annotated[Components, Tag("<vector>")]
    | Annotated[Id, Tag("<id>")]
    | Annotated[ImageBody, Tag("<image>")]
    | Annotated[NearestQuery, Tag("<nearest>")]
    | Annotated[RecommendQuery, Tag("<recommend>")]
    | Annotated[OrderByQuery, Tag("<order_by>")]
    | Annotated[SampleQuery, Tag("<sample>")],
    Discriminator(_kind_of_query),
]


class QueryRequest(QueryOptions, strict=True):
    """JSON body of POST …/points/query: the nearest to a vector, to a stored point, or to an image, and the like."""

    query: Asked | None = Field(None, description="none: the points in the order of their ids")
    using: Literal[""] | None = Field(None, description="there is one vector a point, which has no name")


class QueryGroupsRequest(QueryRequest, strict=True):
    """Body of POST …/points/query/groups: the best points, so many for each value of a field."""

    offset: Literal[0] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = Field(10, description="groups")
    group_by: str = Field(description="a key whose value is a text or an integer; of an array each element counts")
    group_size: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = Field(3, description="points of a group, at most")
    rerank: None = None


class QueryBatchRequest(Shape, strict=True):
    """Body of POST …/points/query/batch."""

    searches: Items[QueryRequest]


class ScoredPoint(PointRecord):
    """A point that a query found."""

    version: int = Field(description="number of the operation that wrote it")
    score: float = Field(description="with `rerank` that of the pair")
    vector_score: float | None = Field(None, description="with `rerank` what else is the score")


class QueryResult(BaseModel):
    """Result of …/query."""

    points: list[ScoredPoint]


class PointGroup(BaseModel):
    """The points that have one value in common."""

    id: int | str
    hits: list[ScoredPoint]


class GroupsResult(BaseModel):
    """Result of …/query/groups."""

    groups: list[PointGroup]


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
                    "rerank": {"enum": ["pairs"]},
                    "candidates": {"type": "integer"},
                },
            }
        },
    },
}
