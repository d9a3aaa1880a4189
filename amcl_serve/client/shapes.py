"""What goes into the client's methods and what comes out of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeAlias, TypedDict
from uuid import UUID

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import PIL.Image

# A file's path or its bytes; or pixels, which are sent as PNG: uint8 [H, W], [H, W, 3] or [H, W, 4].
Image: TypeAlias = "str | os.PathLike[str] | bytes | PIL.Image.Image | npt.NDArray[np.uint8]"
Vectors: TypeAlias = npt.NDArray[np.floating[Any]]
Vector: TypeAlias = "Sequence[float] | npt.NDArray[np.floating[Any]]"
PointId: TypeAlias = int | UUID | str
Filter: TypeAlias = Mapping[str, Any]
Distance = Literal["Cosine", "Dot", "Euclid"]


@dataclass(frozen=True)
class Point:
    """A point to be stored: by its vector, or by an image that the server embeds; ValueError for both or neither."""

    id: PointId
    payload: Mapping[str, Any] | None = None
    vector: Vector | None = None
    image: Image | None = None

    def __post_init__(self) -> None:
        if (self.vector is None) == (self.image is None):
            raise ValueError(f"point {self.id} has to have either a vector or an image")


class ItemError(TypedDict):
    """Why one item has no result; of a pair, `operand` says which of its images is to blame."""

    code: str
    detail: str
    operand: NotRequired[Literal["a", "b"]]


class PairScore(TypedDict):
    """How alike the images of a pair are; of a pair that could not be scored, `index` and `error` alone.

    What is of heads is None where the model has none.
    """

    index: int
    feature_similarity: float
    head_similarity: list[float] | None
    temperature: list[float] | None
    score: float
    uncertainty: float | None
    probability: float | None
    same: bool | None
    error: NotRequired[ItemError]


class PairsAnswer(TypedDict):
    """The scores of a₁b₁, a₂b₂, …"""

    model: str
    digest: str
    mode: Literal["pairs"]
    data: list[PairScore]


class CrossAnswer(TypedDict):
    """Every a with every b: float32 [a, b], NaN in the row or column of a failed image, which `errors` lists."""

    model: str
    digest: str
    feature_similarity: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32] | None
    errors: list[dict[str, Any]]


class ModelSummary(TypedDict):
    """A loaded model; further fields may come with further versions."""

    name: str
    digest: str
    description: str
    dim: int
    heads: int
    head_dim: int
    precision: str
    provider: str


class Found(TypedDict):
    """A stored point; score and version where a query found it, payload and vector where they were asked for.

    `vector_score` beside a score that is a pair's;
    `probability` is there where duplicates were asked for by it, `distance` of a diverse subset's points.
    """

    id: int | str
    score: NotRequired[float]
    vector_score: NotRequired[float]
    probability: NotRequired[float]
    distance: NotRequired[float | None]
    version: NotRequired[int]
    payload: NotRequired[dict[str, Any]]
    vector: NotRequired[list[float]]


class Progress(TypedDict):
    """How far an evaluation is: steps of a stage."""

    stage: str
    done: int
    total: int


class Failure(TypedDict):
    """Why an evaluation failed."""

    code: str
    detail: str


class Evaluation(TypedDict):
    """An evaluation, as it stands; further fields may come with further versions."""

    id: str
    status: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
    progress: Progress
    created: str
    started: str | None
    ended: str | None
    model: str
    digest: str
    against: str | None
    dataset: str
    images: int
    protocol: str
    error: Failure | None
    result: NotRequired[dict[str, Any] | None]


class Calibrated(TypedDict):
    """A calibration to somebody's pairs: what it says and what it is worth; further fields may come."""

    calibration: dict[str, Any]
    model: str
    digest: str
    created: str
    fitted: int
    held_out: int
    left_out: int
    before: dict[str, float] | None
    after: dict[str, float]
    threshold: dict[str, Any]


class Page(TypedDict):
    """A page of points, and where the next one begins."""

    points: list[Found]
    next_page_offset: int | str | None


class Leak(TypedDict):
    """A point, and those of the other collection that it is near to, nearest first."""

    id: int | str
    payload: NotRequired[dict[str, Any]]
    matches: list[Found]


class DuplicatesAnswer(TypedDict):
    """Groups of points, in each the oldest first; how many were looked at, and would go if one of each group stayed."""

    groups: list[list[Found]]
    points: int
    duplicates: int


class LeaksAnswer(TypedDict):
    """Leaks; how many points were looked at of both collections, and pairs found."""

    leaks: list[Leak]
    points: int
    against: int
    pairs: int


class SampleAnswer(TypedDict):
    """A diverse subset; `radius` is 1 - cosine of the worst point left to its nearest one in it."""

    points: list[Found]
    radius: float
