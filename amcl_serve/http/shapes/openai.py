"""The shapes of OpenAI's embeddings and models routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from amcl_serve.http.shapes.base import Items, Shape


class EmbeddingsRequest(Shape, strict=True):
    """JSON body of /v1/embeddings."""

    input: str | Annotated[Items[str], Field(min_length=1)] = Field(
        description="one image or several, as data URI or base64; URLs are not fetched"
    )
    model: str = Field(default="default", description="a loaded model's name; `default` is the server's own choice")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="`float`: a list of numbers (default); `base64`: little-endian float32, as base64"
    )
    dimensions: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="D, if given: vectors cannot be shortened"
    )
    user: str | None = Field(default=None, description="ignored")

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, value: Any) -> Any:
        """LangChain's class, by default, turns texts into tokens itself, and would so turn a base64 image."""
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, list) and first:
            first = first[0]
        if isinstance(first, int):
            raise ValueError(
                "these are numbers of tokens, which no image has: tell the client to send its input as it is "
                "(LangChain: check_embedding_ctx_length=False)"
            )
        return value


class EmbeddingItem(Shape):
    """One image's features."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="features [D] of unit norm, in the `encoding_format`")


class Usage(Shape):
    """Images, in place of tokens."""

    prompt_tokens: int = Field(description="images in the request")
    total_tokens: int = Field(description="the same number")


class EmbeddingsAnswer(Shape):
    """Answer of /v1/embeddings; `data` is in the order of `input`."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str = Field(description="the name of the model that answered, never `default`")
    usage: Usage


class OpenAIModel(Shape):
    """A loaded model, as OpenAI's clients list it; GET /models/{name} says more."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="always 0: a bundle has no date")
    owned_by: str = "amcl-serve"


class OpenAIModelList(Shape):
    """Answer of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class OpenAIError(Shape):
    """What OpenAI's clients read of an error."""

    message: str = Field(description="the problem's `detail`")
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    code: str = Field(description="the problem's `code`")
    param: None = None
