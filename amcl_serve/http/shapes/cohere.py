"""The shapes of Cohere's /v2/embed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.http.shapes.parts import NO_TEXT, image_of

Form = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


def _inputs(value: Any) -> Any:
    """The images as texts, one for each input."""
    if not isinstance(value, list) or not all(isinstance(one, dict) and set(one) == {"content"} for one in value):
        raise ValueError('a list of {"content": [parts]}')
    found = []
    for index, one in enumerate(value):
        try:
            found.append(image_of(one["content"]))
        except ValueError as error:
            raise ValueError(f"[{index}]: {error}") from None
    return found


_CONTENTS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["content"],
        "properties": {"content": {"type": "array", "items": {"type": "object"}}},
    },
}


class CohereRequest(Shape, strict=True):
    """JSON body of /v2/embed: images in `images` or in `inputs`."""

    model: str = Field(default="default", description="a loaded model's name; `default` is the server's own choice")
    images: Annotated[Items[str], Field(min_length=1)] | None = Field(
        default=None, description="as data URI or base64; URLs are not fetched"
    )
    inputs: Annotated[Items[str], Field(min_length=1), BeforeValidator(_inputs), WithJsonSchema(_CONTENTS)] | None = (
        Field(default=None, description="in place of `images`: contents with one `image_url` part each")
    )
    texts: list[str] | None = Field(default=None, description="refused: there is no encoder of texts")
    embedding_types: Annotated[Items[Form], Field(min_length=1)] | None = Field(
        default=None, description="forms of the vectors, `float` by default; `int8` is 127 times the numbers, rounded"
    )
    output_dimension: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="D, if given: vectors cannot be shortened"
    )
    input_type: str | None = Field(default=None, description="ignored")
    max_tokens: int | None = Field(default=None, description="ignored")
    truncate: str | None = Field(default=None, description="ignored")
    priority: int | None = Field(default=None, description="ignored")

    @model_validator(mode="after")
    def _one_of_two(self) -> CohereRequest:
        if self.texts:
            raise ValueError(f"`texts`: {NO_TEXT}; send `images` or `inputs`")
        if (self.images is None) == (self.inputs is None):
            raise ValueError("send the images in either `images` or `inputs`")
        return self


class ImagesBilled(Shape):
    """Images of the request."""

    images: int


class ApiVersion(Shape):
    """Of the shapes."""

    version: Literal["2"] = "2"


class CohereMeta(Shape):
    """What Cohere's clients read of the cost."""

    api_version: ApiVersion
    billed_units: ImagesBilled


class CohereAnswer(Shape):
    """Answer of /v2/embed; each list of `embeddings` is in the order of the images."""

    id: str = Field(description="the request's id, as in x-request-id")
    response_type: Literal["embeddings_by_type"] = "embeddings_by_type"
    embeddings: dict[Form, list[list[float] | str]] = Field(description="features [D] of unit norm, by their form")
    texts: list[str] = Field(description="empty")
    meta: CohereMeta
