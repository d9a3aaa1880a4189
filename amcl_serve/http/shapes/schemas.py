"""The shapes of requests and answers, as /openapi.json says them; the tests hold answers to them."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StrictInt

from amcl_serve.http.shapes.openai import OpenAIError
from amcl_serve.http.shapes.shape import Items, Shape
from amcl_serve.model.bundle import Calibration, InputSpec, Metric, Parity, Precision, TemperatureSpec

Output = Literal["features", "heads"]
Mode = Literal["pairs", "cross"]
Matrix = list[list[float | None]]
Name = Annotated[str, Field(max_length=64)]


class EmbedOptions(Shape):
    """What /embed returns of each image."""

    outputs: Annotated[Items[Output], Field(min_length=1)] | None = Field(
        default=None, description="`features`: the backbone's [D] (default); `heads`: the unit-norm projections [C, d']"
    )
    normalize: bool | None = Field(default=None, description="scale features to unit norm (heads always have it)")
    model: Name | None = Field(default=None, description="a loaded model; by default the first")


class EmbedRequest(EmbedOptions, strict=True):
    """JSON body of /embed."""

    images: Items[str] = Field(description="images as base64 or data URI; URLs are not fetched")


class SimilarityOptions(Shape):
    """How the operands of /similarity are paired."""

    mode: Mode | None = Field(
        default=None, description="`pairs`: a₁b₁, a₂b₂, … (default); `cross`: every a with every b"
    )
    model: Name | None = Field(default=None, description="a loaded model; by default the first")


class PointRef(Shape):
    """A stored point as an operand of /similarity: refused with 422 as long as points are stored without heads."""

    collection: str
    id: Annotated[StrictInt, Field(ge=0, le=2**64 - 1)] | UUID


class SimilarityRequest(SimilarityOptions, strict=True):
    """JSON body of /similarity."""

    a: Items[str | PointRef] = Field(description="images as base64 or data URI, or stored points")
    b: Items[str | PointRef] = Field(description="as `a`; of the same length in mode `pairs`")


class ItemError(Shape):
    """Why one item of a request has no result; the others have theirs."""

    code: str
    detail: str


class FailedItem(Shape):
    """An item that has no result."""

    index: int
    error: ItemError


class Embedding(Shape):
    """One image's vectors, those that `outputs` named."""

    index: int
    embedding: list[float] | None = Field(default=None, description="features [D]")
    heads: list[list[float]] | None = Field(default=None, description="projections [C, d'], each of unit norm")


class EmbedAnswer(Shape):
    """Answer of /embed; `data` is in the order of the request's images."""

    model: str
    digest: str = Field(description="sha256 of the bundle's card: vectors of different digests are not comparable")
    dim: int = Field(description="D, length of `embedding`")
    data: list[Embedding | FailedItem]


class PairScore(Shape):
    """How alike two images are."""

    index: int
    feature_similarity: float = Field(description="cosine of the backbone features")
    head_similarity: list[float] = Field(description="cosine per head [C]")
    temperature: list[float] = Field(description="temperature per head [C]: the variance that the model gives the pair")
    score: float = Field(description="head similarities combined by inverse temperature, in [-1, 1]")
    uncertainty: float | None = Field(description="harmonic mean of the temperatures; null when they are constant")
    probability: float | None = Field(description="calibrated from the score; null when the model has no calibration")
    same: bool | None = Field(description="the verdict: probability at or above the model's threshold")


class PairsAnswer(Shape):
    """Answer of /similarity in mode `pairs`."""

    model: str
    digest: str
    mode: Literal["pairs"]
    data: list[PairScore | FailedItem]


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


class ModelSummary(Shape):
    """A loaded model."""

    name: str
    digest: str
    default: bool = Field(description="whether it answers requests that name no model")
    description: str
    dim: int = Field(description="D, length of the features")
    heads: int = Field(description="C")
    head_dim: int = Field(description="d'")
    precision: Precision = Field(description="of the encoder that is loaded")
    provider: str = Field(description="what onnxruntime really runs it on")


class ModelList(Shape):
    """Answer of GET /models."""

    data: list[ModelSummary]


class ModelDetail(ModelSummary):
    """Answer of GET /models/{name}: the card's facts."""

    precisions: list[Precision] = Field(description="that the bundle holds")
    method: str
    recipe: str
    backbone: str
    input: InputSpec
    temperature: TemperatureSpec
    parity: dict[Precision, Parity]
    metrics: dict[str, Metric]
    calibration: Calibration | None
    training_data: str
    licence: str
    notes: list[str]


class ModelLoad(Shape):
    """Answer of POST /models/{name}/load."""

    outcome: Literal["loaded", "replaced", "unchanged"] = Field(
        description="`unchanged`: the folder holds the bundle that is loaded"
    )
    model: ModelSummary


class ModelUnload(Shape):
    """Answer of POST /models/{name}/unload."""

    outcome: Literal["unloaded"]


class Health(Shape):
    """Answer of the health routes."""

    status: Literal["ok"]


class Pointer(Shape):
    """Answer of GET / when no page is mounted."""

    name: str
    version: str
    docs: str


class QdrantStatus(Shape):
    """What Qdrant's clients read."""

    error: str


class Problem(Shape):
    """RFC 9457 problem details, with what Qdrant's and OpenAI's clients read where their routes are.

    Under /collections `status` is Qdrant's object (the status line has the number); under /v1 `error` is OpenAI's.
    """

    type: str
    title: str
    status: int | QdrantStatus
    code: str = Field(description="stable name of the error")
    detail: str
    error: OpenAIError | None = None
