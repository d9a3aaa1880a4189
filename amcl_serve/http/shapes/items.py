"""A model by its name, and what went wrong with single items of a request."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from amcl_serve.http.shapes.base import Shape

Name = Annotated[str, Field(max_length=64)]


class ItemError(Shape):
    """Why one item of a request has no result; the others have theirs."""

    code: str
    detail: str


class FailedItem(Shape):
    """An item that has no result."""

    index: int
    error: ItemError
