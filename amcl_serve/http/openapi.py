"""What FastAPI cannot know for /openapi.json: the errors of each operation, the headers, the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import getdoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from amcl_serve import errors
from amcl_serve.errors import AmclError
from amcl_serve.http import binary_tensors
from amcl_serve.http.about import About, Route
from amcl_serve.http.answers.problem import MEDIA_TYPE
from amcl_serve.http.answers.stream import NDJSON
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.shapes.problem import Problem

Errors = tuple[type[AmclError], ...]

_BODY: Errors = (
    errors.BadRequest, errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidRequest, errors.Overloaded,
    errors.DeadlineExceeded,
)  # fmt: skip
_IMAGES: Errors = (
    errors.UndecodableImage, errors.EmptyImage, errors.ImageTooLarge, errors.TooManyItems, errors.UnsupportedImage,
    errors.NotReady,
)  # fmt: skip
_MILLISECONDS = {"type": "string", "pattern": r"^\d+\.\d\d$"}
_HEADERS: dict[str, dict[str, Any]] = {
    "x-request-id": {
        "required": True,
        "description": "the request's own id, or a new one; the log has it too",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=@-]{1,128}$"},
    },
    "x-total-time": {
        "required": True,
        "description": "milliseconds until the answer began",
        "schema": _MILLISECONDS,
    },
    "x-queue-time": {"description": "milliseconds that images waited; with images only", "schema": _MILLISECONDS},
    "x-decode-time": {"description": "milliseconds of decoding; with images only", "schema": _MILLISECONDS},
    "x-inference-time": {"description": "milliseconds of the encoder; with images only", "schema": _MILLISECONDS},
    "x-model-digest": {
        "description": "of application/x-npy: the `digest` of the model, as an answer in JSON has it",
        "schema": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    },
    "x-failed-indices": {
        "description": "of application/x-npy: the images that have no row, separated by commas",
        "schema": {"type": "string", "pattern": r"^(\d+(,\d+)*)?$"},
    },
    binary_tensors.HEADER: {
        "description": "of application/octet-stream: bytes of JSON at the start of the answer",
        "schema": {"type": "string", "pattern": r"^\d+$"},
    },
    "retry-after": {"required": True, "description": "seconds", "schema": {"type": "string", "pattern": r"^\d+$"}},
    "www-authenticate": {"required": True, "description": "how to send a key", "schema": {"type": "string"}},
}
HEADERS = tuple(_HEADERS)  # of our own answers
_ALL = ("x-request-id", "x-total-time")
_TIMES = ("x-queue-time", "x-decode-time", "x-inference-time")

_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key as `Authorization: Bearer KEY`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "a key, also as `api-key`"},
}


def complete(schema: dict[str, Any], routes: Iterable[BaseRoute], *, keys: bool) -> dict[str, Any]:
    """FastAPI's schema with named shapes, each operation's errors, every header, and, with `keys`, who needs one."""
    said = {(method, route.path_format): route.about for route in _ours(routes) for method in route.methods or ()}
    shapes: list[type[BaseModel]] = [Problem, *(about.body for about in said.values() if about.body is not None)]
    _, named = models_json_schema(
        [(shape, "validation") for shape in dict.fromkeys(shapes)], ref_template="#/components/schemas/{model}"
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(named["$defs"])
    components["headers"] = _HEADERS
    if keys:
        components["securitySchemes"] = _SECURITY
        schema["security"] = [{name: []} for name in _SECURITY]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(path, operation, said[method.upper(), path], keys=keys)
    return schema


def _ours(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    return (route for route in routes if isinstance(route, Route))


def _complete(path: str, operation: dict[str, Any], about: About, *, keys: bool) -> None:
    if about.body is not None and "requestBody" not in operation:
        schema = {"$ref": f"#/components/schemas/{about.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    responses = operation["responses"]
    responses.pop("default", None)  # it stood for the errors
    for response in responses.values():
        response["headers"] = response.get("headers", {}) | _references(*_ALL, *(_TIMES if about.images else ()))
        if "application/x-npy" in response.get("content", {}):
            response["headers"] |= _references("x-model-digest", "x-failed-indices")
        if NDJSON in response.get("content", {}):  # OpenAPI 3.1 has no word for a shape of lines
            shape = {"$ref": response["content"][NDJSON]["schema"]["$ref"]}
            response["content"][NDJSON]["schema"] = {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": shape,
            }
        if "application/octet-stream" in response.get("content", {}):
            response["headers"] |= _references(binary_tensors.HEADER)
    for status, found in sorted(_by_status(_errors_of(path, operation, about, keys=keys)).items()):
        responses.setdefault(str(status), _problem(found))
    if keys and about.access is None:
        operation["security"] = []


def _errors_of(path: str, operation: dict[str, Any], about: About, *, keys: bool) -> list[type[AmclError]]:
    """What the route says, and what follows from its shape."""
    found: list[type[AmclError]] = [AmclError, *about.errors, *(_IMAGES if about.images else ())]
    if "requestBody" in operation:
        found += _BODY
    if "{" in path:
        found.append(errors.NotFound)  # a slash within a name makes another path
    if operation.get("parameters"):
        found.append(errors.InvalidRequest)
    if keys and about.access is not None:
        found.append(errors.Unauthorized)
        if about.access is Access.WRITE:
            found.append(errors.Forbidden)
    return list(dict.fromkeys(found))


def _by_status(found: list[type[AmclError]]) -> dict[int, list[type[AmclError]]]:
    return {status: [error for error in found if error.status == status] for status in {e.status for e in found}}


def _problem(found: list[type[AmclError]]) -> dict[str, Any]:
    said = "; ".join(f"`{error.code}`: {_sentence(error)}" for error in sorted(found, key=lambda error: error.code))
    names = list(_ALL)
    if any(error.retry_after is not None for error in found):
        names.append("retry-after")
    if any(error.challenge is not None for error in found):
        names.append("www-authenticate")
    return {
        "description": said,
        "headers": _references(*names),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _sentence(error: type[AmclError]) -> str:
    if error is AmclError:
        return "the server failed; its log says why"
    first = (getdoc(error) or "").splitlines()[0].rstrip(".")
    return first[0].lower() + first[1:]


def _references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
