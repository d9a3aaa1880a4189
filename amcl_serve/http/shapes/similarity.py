"""Bodies and answers of /similarity."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StrictInt

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.http.shapes.items import ItemError, Name

Mode = Literal["pairs", "cross"]
Matrix = list[list[float | None]]


class SimilarityOptions(Shape):
    """How the operands of /similarity are paired."""

    mode: Mode | None = Field(
        default=None, description="`pairs`: a₁b₁, a₂b₂, … (default); `cross`: every a with every b"
    )
    model: Name | None = Field(default=None, description="a loaded model; by default the first")


class SimilarityQuery(BaseModel, extra="ignore"):
    """Query of /similarity; what the body says goes before it."""

    mode: Mode | None = Field(default=None, description="unless the body says it")
    model: Name | None = Field(default=None, description="unless the body says it")


class PointRef(Shape):
    """A stored point as an operand of /similarity: refused with 422 as long as points are stored without heads."""

    collection: str
    id: Annotated[StrictInt, Field(ge=0, le=2**64 - 1)] | UUID


class SimilarityRequest(SimilarityOptions, strict=True):
    """JSON body of /similarity."""

    a: Items[str | PointRef] = Field(description="images as base64 or data URI, or stored points")
    b: Items[str | PointRef] = Field(description="as `a`; of the same length in mode `pairs`")


class PairScore(Shape):
    """How alike two images are."""

    index: int
    feature_similarity: float = Field(description="cosine of the backbone features")
    head_similarity: list[float] | None = Field(
        description="cosine per head [C]; null, as `temperature`, where the model has no heads"
    )
    temperature: list[float] | None = Field(
        description="temperature per head [C]: the variance that the model gives the pair"
    )
    score: float = Field(
        description="head similarities combined by inverse temperature, in [-1, 1]; without heads `feature_similarity`"
    )
    uncertainty: float | None = Field(
        description="harmonic mean of the temperatures; null when they are constant, or there are none"
    )
    probability: float | None = Field(description="calibrated from the score; null when the model has no calibration")
    same: bool | None = Field(description="the verdict: probability at or above the model's threshold")


class OperandError(ItemError):
    """Why a pair has no score."""

    operand: Literal["a", "b"] = Field(description="the image that it is due to; `a` where both are bad")


class FailedPair(Shape):
    """A pair that has no score."""

    index: int
    error: OperandError


class PairsAnswer(Shape):
    """Answer of /similarity in mode `pairs`."""

    model: str
    digest: str
    mode: Literal["pairs"]
    data: list[PairScore | FailedPair]


class CrossScores(Shape):
    """Matrices [len(a), len(b)]; the row or column of a failed image is null."""

    feature_similarity: Matrix
    score: Matrix
    probability: Matrix | None


class FailedOperand(Shape):
    """An image that has no row (`a`) or column (`b`)."""

    operand: Literal["a", "b"]
    index: int
    error: ItemError


class CrossAnswer(Shape):
    """Answer of /similarity in mode `cross`."""

    model: str
    digest: str
    mode: Literal["cross"]
    data: CrossScores
    errors: list[FailedOperand]
