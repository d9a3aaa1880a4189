"""Bodies as routes read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.types import Message

from amcl_serve.errors import BodyTooLarge
from amcl_serve.http.reading.body import MAX_OBJECTS, MAX_VALUES, read_json


class Anything(BaseModel):
    values: list[Any]
    text: str


def body(values: list[Any]) -> bytes:
    """A comma for each value, that behind the text included, and a long text before most of them."""
    return json.dumps({"text": "A" * MAX_VALUES, "values": values}).encode()


async def read(sent: bytes) -> Anything:
    async def receive() -> Message:
        return {"type": "http.request", "body": sent}

    return (await read_json(receive, Anything))[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("value", "most", "what"),
    [(1, MAX_VALUES, "values"), ({}, MAX_OBJECTS - 1, "objects"), ([], MAX_OBJECTS - 1, "lists")],
)
async def test_a_body_has_as_much_as_the_limit_and_no_more(value: Any, most: int, what: str) -> None:
    """One object and one list hold the others."""
    assert len((await read(body([value] * (most - 1)))).values) == most - 1
    with pytest.raises(BodyTooLarge, match=f"the JSON body has more than [0-9]+ {what}; send it in several requests"):
        await read(body([value] * most))
