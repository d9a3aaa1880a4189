"""Answers of the routes for operation."""

from __future__ import annotations

from typing import Literal

from amcl_serve.http.shapes.base import Shape


class Health(Shape):
    """Answer of the health routes."""

    status: Literal["ok"]


class Pointer(Shape):
    """Answer of GET / when no page is mounted."""

    name: str
    version: str
    docs: str
