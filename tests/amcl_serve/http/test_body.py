"""Bodies as routes read them."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel
from starlette.types import Message

from amcl_serve.errors import BodyTooLarge
from amcl_serve.http.body import MAX_VALUES, read_json


class Numbers(BaseModel):
    values: list[int]
    text: str


def body(count: int) -> bytes:
    """So many commas as a list of `count` values and the member after it bring, a long text before most of them."""
    return json.dumps({"text": "A" * MAX_VALUES, "values": [1] * count}).encode()


async def read(sent: bytes) -> Numbers:
    async def receive() -> Message:
        return {"type": "http.request", "body": sent}

    return (await read_json(receive, Numbers))[0]


@pytest.mark.anyio
async def test_a_body_has_as_many_values_as_the_limit_and_no_more() -> None:
    assert len((await read(body(MAX_VALUES - 1))).values) == MAX_VALUES - 1
    with pytest.raises(BodyTooLarge, match=f"more than {MAX_VALUES} values"):
        await read(body(MAX_VALUES))
