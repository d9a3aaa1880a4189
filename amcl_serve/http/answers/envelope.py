"""Qdrant's envelope around every answer of /collections, and what an answer may hold."""

from __future__ import annotations

import time
from typing import Annotated, Any

import orjson
from fastapi import Depends, Query
from starlette.responses import Response

from amcl_serve.engine.submissions import Timing
from amcl_serve.errors import InvalidRequest
from amcl_serve.http.answers.output import timed_json
from amcl_serve.http.metrics import Metrics
from amcl_serve.http.shapes.items import Name
from amcl_serve.http.shapes.points import Excluded, Included, Selector
from amcl_serve.vectors.scan import Stored
from amcl_serve.vectors.types import Record

MAX_NUMBERS = 1_000_000  # of an answer's vectors; writing them takes 30 ms, in which nothing else of the process runs

MAX_PAYLOADS = 64 * 1024 * 1024  # characters of an answer's payloads; copying them takes 50 ms


async def _now() -> float:
    return time.perf_counter()


Started = Annotated[float, Depends(_now)]
Wanted = Annotated[Name | None, Query(alias="model", description="of images; by default the collection's own")]


def enveloped(result: object, started: float) -> Response:
    """`result` in the envelope."""
    content = _content(result, started)
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def enveloped_after_images(result: object, started: float, timing: Timing, metrics: Metrics) -> Response:
    """`result` in the envelope, with the time headers of images."""
    return timed_json(_content(result, started), timing, metrics)


def check_numbers(points: int, size: int) -> None:
    """InvalidRequest where an answer would hold more numbers than can be written while others wait."""
    if points * size > MAX_NUMBERS:
        raise InvalidRequest(
            f"limit: {points} points with vectors of {size} are {points * size} numbers; at most {MAX_NUMBERS} are "
            f"answered at a time: ask for {MAX_NUMBERS // size} points, or leave the vectors out"
        )


def check_payloads(characters: int) -> None:
    """InvalidRequest where an answer would hold more of payloads than can be written while others wait."""
    if characters > MAX_PAYLOADS:
        raise InvalidRequest(
            f"limit: the payloads found have over {MAX_PAYLOADS} characters of JSON together; ask for fewer points "
            "at a time, or leave the payloads out"
        )


def record(found: Record, *, payload: Selector, vector: bool) -> dict[str, Any]:
    """A stored point as it is answered."""
    result = point(found, payload)
    if vector:
        result["vector"] = found.vector
    return result


def point(found: Record | Stored, payload: Selector) -> dict[str, Any]:
    """A stored point as it is answered, without its vector."""
    result: dict[str, Any] = {"id": found.id}
    if payload is True:
        result["payload"] = orjson.Fragment(found.payload_json)  # reading and writing many takes a second
    elif payload is not False:
        result["payload"] = _selected(found.payload, payload)
    return result


def _selected(payload: dict[str, Any], wanted: list[str] | Included | Excluded) -> dict[str, Any]:
    """The members that are wanted; a key names the members on the way, divided by dots."""
    if isinstance(wanted, Excluded):
        for key in wanted.exclude:
            *way, last = key.split(".")
            inner: Any = payload
            for name in way:
                inner = inner.get(name) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                inner.pop(last, None)
        return payload
    result: dict[str, Any] = {}
    for key in wanted.include if isinstance(wanted, Included) else wanted:
        *way, last = key.split(".")
        inner, kept = payload, result
        for name in way:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and last in inner:
            for name in way:
                kept = kept.setdefault(name, {})
            kept[last] = inner[last]
    return result


def _content(result: object, started: float) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": round(time.perf_counter() - started, 6)}
