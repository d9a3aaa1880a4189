"""Bodies and answers of /embed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.http.shapes.items import FailedItem, Name
from amcl_serve.model.bundle import Output


class EmbedOptions(Shape):
    """What /embed returns of each image."""

    outputs: Annotated[Items[Output], Field(min_length=1)] | None = Field(
        default=None,
        description="`features`: the backbone's [D] (default); `heads`: the unit-norm projections [C, d'], "
        "of a model that has them",
    )
    normalize: bool | None = Field(default=None, description="scale features to unit norm (heads always have it)")
    model: Name | None = Field(default=None, description="a loaded model; by default the first")


class EmbedQuery(BaseModel, extra="ignore"):
    """Query of /embed; what the body says goes before it."""

    outputs: list[Output] | None = Field(default=None, description="unless the body says it; repeat for both")
    normalize: bool | None = Field(default=None, description="unless the body says it")
    model: Name | None = Field(default=None, description="unless the body says it")
    dtype: Literal["float32", "float16"] = Field(default="float32", description="of an answer in application/x-npy")


class EmbedRequest(EmbedOptions, strict=True):
    """JSON body of /embed."""

    images: Items[str] = Field(description="images as base64 or data URI; URLs are not fetched")


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
