"""/openapi.json as the server keeps it: each route's errors by status, the headers of answers, and named shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from amcl_serve.api.problem import MEDIA_TYPE

Json = dict[str, Any]

_SAID = {
    400: "The body is malformed, or the only image is empty or damaged",
    404: "No such model, collection or point",
    409: "It exists already, or belongs to another model",
    413: "Too many bytes or items, or too many pixels in the only image",
    415: "A content type that the route does not read, or the only image is of no accepted format",
    422: "The request does not fit the route's schema",
    429: "The queue is full, and nothing of the request was started",
    503: "The server is starting or stopping, or has lost its encoder",
    504: "The body did not come, or was not answered, within the deadline",
    507: "The disk is full, and nothing was stored",
}
_AGAIN = (429, 503)  # with Retry-After
_OF_BODIES = (400, 413, 422, 429, 504)  # of every route that has one
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ALWAYS = {"x-total-time": ("number", "milliseconds from the request's head to the answer's")}
_WITH_IMAGES = {f"x-{stage}-time": ("number", f"milliseconds: {stage}") for stage in ("queue", "decode", "inference")}

# Any other error of any route: what `responses` of the application says.
DEFAULT = {"description": "What was wrong, as problem details; `code` is stable", "content": _PROBLEM}


def also(*statuses: int) -> dict[int | str, Json]:
    """`responses` of a route that has errors beyond those that follow from its body and parameters."""
    return {status: {"description": _SAID[status]} for status in statuses}


def openapi_of(app: FastAPI, named: Iterable[type[BaseModel]]) -> Json:
    """FastAPI's schema of `app`, completed; `named` are the shapes that routes name by reference."""
    schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    _, definitions = models_json_schema(
        [(model, "validation") for model in named], ref_template="#/components/schemas/{model}"
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["responses"] = {f"Problem{status}": _problem(status) for status in _SAID}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    return schema


def _problem(status: int) -> Json:
    again = {"retry-after": ("integer", "seconds to wait before the next try")} if status in _AGAIN else {}
    return {"description": _SAID[status], "content": _PROBLEM, "headers": _headers(_ALWAYS | again, required=True)}


def _complete(path: str, operation: Json) -> None:
    """Add what follows from an operation's body and parameters to its responses."""
    responses = operation["responses"]
    for status in {*_errors(path, operation), *(int(key) for key in responses if key in map(str, _SAID))}:
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    headers = _headers(_ALWAYS, required=True)
    if "415" in responses:
        headers |= _headers(_WITH_IMAGES, required=path in ("/embed", "/similarity"))
    for key, response in responses.items():
        if "$ref" not in response:
            response.setdefault("headers", {}).update(headers if key == "200" else _headers(_ALWAYS, required=True))


def _errors(path: str, operation: Json) -> Iterator[int]:
    if path not in ("/", "/livez", "/metrics"):
        yield 503
    if "{" in path:
        yield 404
    if operation.get("parameters"):
        yield 422
    if body := operation.get("requestBody"):
        yield from _OF_BODIES
        if "multipart/form-data" in body["content"]:
            yield 415


def _headers(found: dict[str, tuple[str, str]], *, required: bool) -> Json:
    return {
        name: {"description": said, "required": required, "schema": {"type": kind}}
        for name, (kind, said) in found.items()
    }
