"""The shape of every error."""

from __future__ import annotations

from pydantic import Field

from amcl_serve.http.shapes.base import Shape
from amcl_serve.http.shapes.openai import OpenAIError


class QdrantStatus(Shape):
    """What Qdrant's clients read."""

    error: str


class ItemFault(Shape):
    """What is wrong with one item of the request."""

    operand: str = Field(description="the member, field or file that held it: images, files, a, b, points, …")
    index: int = Field(description="its place there, from 0")
    code: str
    detail: str


class Problem(Shape):
    """RFC 9457 problem details, with what Qdrant's and OpenAI's clients read where their routes are.

    Under /collections `status` is Qdrant's object (the status line has the number); under /v1 `error` is OpenAI's, and
    under /v2 the detail, where Triton's clients look for it.
    """

    type: str
    title: str
    status: int | QdrantStatus
    code: str = Field(description="stable name of the error")
    detail: str
    error: OpenAIError | str | None = None
    errors: list[ItemFault] | None = Field(default=None, description="the items that it is due to, where it is")
