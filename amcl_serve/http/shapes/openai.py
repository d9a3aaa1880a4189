"""The shapes of OpenAI's embeddings and models routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.http.shapes.parts import NO_TEXT, image_of


def _input(value: Any) -> Any:
    """The images as texts; ValueError for what is an input, but of other things."""
    if not isinstance(value, list):
        return value
    first = value[0] if value else None
    if isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, int):  # LangChain's class, by default, turns texts into tokens itself: a base64 image, too
        raise ValueError(
            "these are numbers of tokens, which no image has: tell the client to send its input as it is "
            "(LangChain: check_embedding_ctx_length=False)"
        )
    return [_jina(item, index) if isinstance(item, dict) else item for index, item in enumerate(value)]


def _jina(item: dict[Any, Any], index: int) -> str:
    """The image of an item in Jina's form."""
    (name, text), *more = item.items() if item else [("", None)]
    if name == "text":
        raise ValueError(f"[{index}] is a text: {NO_TEXT}")
    if more or name not in ("image", "bytes", "url") or not isinstance(text, str):
        raise ValueError(f'[{index}]: an object is {{"image": "data URI or base64"}}, or "bytes" in place of "image"')
    return text


def _messages(value: Any) -> Any:
    """The images as texts, one for each conversation."""
    if not isinstance(value, list) or not value:
        raise ValueError("a conversation is a list of messages; several are a list of such lists")
    several = isinstance(value[0], list)
    return [_conversation(one, index) for index, one in enumerate(value if several else [value])]


def _conversation(messages: Any, index: int) -> str:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError(f"[{index}]: a conversation is a list of messages")
    parts: list[Any] = []
    for message in messages:
        content = message.get("content")
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    try:
        return image_of(parts)
    except ValueError as error:
        raise ValueError(f"conversation {index}: {error}") from None


_TEXTS = {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}
_CONVERSATIONS = {
    "type": "array",
    "minItems": 1,
    "items": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
}


class EmbeddingsRequest(Shape, strict=True):
    """JSON body of /v1/embeddings: images in `input`, as OpenAI's and Jina's clients write them, or in `messages`."""

    input: (
        Annotated[
            str | Annotated[Items[str], Field(min_length=1)],
            BeforeValidator(_input),
            WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS]}),
        ]
        | None
    ) = Field(
        default=None,
        description='one image or several, as data URI, base64, or Jina\'s `{"image": …}`; URLs are not fetched',
    )
    messages: Annotated[Items[str], BeforeValidator(_messages), WithJsonSchema(_CONVERSATIONS)] | None = Field(
        default=None,
        description="in place of `input`, vLLM's form: a conversation with one `image_url` part, or a list of such",
    )
    model: str = Field(default="default", description="a loaded model's name; `default` is the server's own choice")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="`float`: a list of numbers (default); `base64`: little-endian float32, as base64"
    )
    dimensions: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="D, if given: vectors cannot be shortened"
    )
    encoding_type: Literal["float", "base64", "binary", "ubinary"] | None = Field(
        default=None, description="Jina's name of `encoding_format`; `ubinary`: the signs as bits, `binary`: minus 128"
    )
    user: str | None = Field(default=None, description="ignored")
    modality: str | None = Field(default=None, description="ignored")
    input_type: str | None = Field(default=None, description="ignored")
    task: str | None = Field(default=None, description="ignored")

    @model_validator(mode="after")
    def _one_of_two(self) -> EmbeddingsRequest:
        if (self.input is None) == (self.messages is None):
            raise ValueError("send the images in either `input` or `messages`")
        if self.encoding_format is not None and self.encoding_type not in (None, self.encoding_format):
            raise ValueError("`encoding_format` and `encoding_type` are one thing: send one of them")
        return self

    @property
    def images(self) -> tuple[list[str], str, list[str]]:
        """The images, the member that holds them, and what a sentence calls each."""
        if self.messages is not None:
            return self.messages, "messages", [f"conversation {index}" for index in range(len(self.messages))]
        if isinstance(self.input, str):
            return [self.input], "input", ["input"]
        texts = self.input or []
        return texts, "input", [f"input[{index}]" for index in range(len(texts))]


class EmbeddingItem(Shape):
    """One image's features."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="features [D] of unit norm, in the form that was asked for")


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
