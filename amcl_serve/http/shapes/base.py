"""What every request's shape has in common: a wrong body costs one error, however many things are wrong in it."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Item = TypeVar("Item")
Items = Annotated[list[Item], Field(fail_fast=True)]  # pydantic otherwise makes an error of each wrong item


class Shape(BaseModel):
    """A JSON object that has no members but its fields."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _no_more_members_than_fields(cls, value: Any) -> Any:
        """Pydantic otherwise makes an error of each unknown member."""
        if isinstance(value, dict) and len(value) > len(cls.model_fields):
            unknown = next(name for name in value if name not in cls.model_fields)
            raise ValueError(f"unknown field {str(unknown)[:64]!r}; there are {', '.join(cls.model_fields)}")
        return value
