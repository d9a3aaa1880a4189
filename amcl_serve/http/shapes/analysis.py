"""The shapes of what is asked of a collection's pictures, and of the lines that answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from amcl_serve.http.shapes.base import Shape
from amcl_serve.http.shapes.points import Conditions, Id, Selector
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH

MAX_NEIGHBOURS = 100


class _Which(Shape, strict=True):
    """Of which points, and what is told of them."""

    filter: Conditions | None = None
    with_payload: Selector = False


class DuplicatesRequest(_Which, strict=True):
    """Body of POST …/duplicates: one of cosine, probability and hash."""

    cosine: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="the lowest cosine of a pair")
    probability: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="the lowest probability of a pair, by the calibration of the collection's model"
    )
    hash: str | None = Field(
        None, description="equal contents: the key of the payload that has their hash, `sha256` of `amcl-serve index`"
    )
    against: str | None = Field(
        None, description="a second collection: the answer is its points that are near to points of this one"
    )

    @model_validator(mode="after")
    def _one_cut(self) -> DuplicatesRequest:
        if sum(given is not None for given in (self.cosine, self.probability, self.hash)) != 1:
            raise ValueError("say one of cosine, probability and hash")
        return self


class OutliersRequest(_Which, strict=True):
    """Body of POST …/outliers."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    neighbours: Annotated[int, Field(ge=1, le=MAX_NEIGHBOURS)] = Field(
        10, description="nearest points whose mean cosine is a point's score"
    )


class SampleRequest(_Which, strict=True):
    """Body of POST …/sample."""

    limit: Annotated[int, Field(ge=1, le=MAX_REACH)] = Field(10, description="points to choose")


class _Told(BaseModel):
    """A point that is told of; its payload is there if asked for."""

    id: Id
    payload: dict[str, Any] | None = None


class Duplicate(_Told):
    """A point of a group, or one that is near to another collection's."""

    score: float | None = Field(None, description="the highest cosine with another of the group; none by hash")
    probability: float | None = Field(None, description="of that cosine, where it was asked for by probability")


class Group(BaseModel):
    """Points that are duplicates; a group of many comes in several lines."""

    number: int
    size: int = Field(description="points of the group, in all its lines")
    points: list[Duplicate] = Field(description="in the order in which they were written")


class Leak(_Told):
    """A point and those of the other collection that it is near to; of many in several lines."""

    matches: list[Duplicate] = Field(description="nearest first")


class Outlier(_Told):
    """A point far from all others."""

    score: float = Field(description="mean cosine to its nearest neighbours")


class Chosen(_Told):
    """A point of a diverse subset."""

    distance: float | None = Field(description="1 - cosine to the nearest one chosen before it; of the first none")


class GroupsSummary(BaseModel):
    """What all groups come to."""

    points: int = Field(description="points that were looked at")
    groups: int
    duplicates: int = Field(description="points that would go if one of each group stayed")
    cosine: float | None = Field(description="the lowest cosine of a pair; none by hash")


class LeaksSummary(BaseModel):
    """What all leaks come to."""

    points: int
    against: int = Field(description="points of the other collection")
    leaks: int = Field(description="points that are near to one of the other collection")
    pairs: int
    cosine: float | None


class OutliersSummary(BaseModel):
    """What was looked at."""

    points: int
    neighbours: int


class SampleSummary(BaseModel):
    """How well the subset covers the others."""

    points: int
    radius: float = Field(description="1 - cosine of the point that is worst off to the nearest chosen one")


class Line(BaseModel):
    """A line of the answer; the last has `result`, or is the problem of the error that ended the work."""

    progress: float | None = Field(None, description="share of the work that is done")
    status: Literal["ok"] | None = None
    time: float | None = Field(None, description="seconds")


class DuplicatesLine(Line):
    """A line of …/duplicates."""

    group: Group | None = None
    leak: Leak | None = None
    result: GroupsSummary | LeaksSummary | None = None


class OutliersLine(Line):
    """A line of …/outliers."""

    point: Outlier | None = None
    result: OutliersSummary | None = None


class SampleLine(Line):
    """A line of …/sample."""

    point: Chosen | None = None
    result: SampleSummary | None = None
