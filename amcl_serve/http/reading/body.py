"""Reads bodies: all of it, as JSON of a shape, or as a form of files and fields; and the query of a plain route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from amcl_serve.errors import BodyTooLarge, TooManyItems, UnsupportedMediaType
from amcl_serve.http.answers.problem import invalid
from amcl_serve.http.reading import multipart
from amcl_serve.http.reading.headers import header
from amcl_serve.http.reading.multipart import MAX_FIELD_BYTES, Form, Limits

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")

MULTIPART, JSON, OCTETS = "multipart/form-data", "application/json", "application/octet-stream"
# Of a JSON body. Texts cost little, but each value costs time in which nothing else of the process runs, and an object
# or a list ten times as much: so many about 50 ms on one core. A thousand vectors of 512 numbers find room.
MAX_VALUES, MAX_OBJECTS = 600_000, 60_000
_MARKS = ((b",", MAX_VALUES, "values"), (b"{", MAX_OBJECTS, "objects"), (b"[", MAX_OBJECTS, "lists"))
_FEW = MAX_OBJECTS // 200  # commas; pydantic reads JSON 200 deep, so that with fewer there are not too many of anything
_SMALL = 1 << 21  # bytes of JSON that are parsed, and decoded from base64, in a third of a millisecond


def media_type(scope: Scope) -> str:
    """The request's content type without its parameters; empty if there is none."""
    return header(scope, b"content-type").partition(";")[0].strip().lower()


def unsupported(kind: str, wanted: str) -> UnsupportedMediaType:
    """The error of a body that the route does not read."""
    return UnsupportedMediaType(f"the content type is {kind or 'missing'}; {wanted}")


def check_count(count: int, limit: int, what: str) -> None:
    """TooManyItems above `limit`."""
    if count > limit:
        raise TooManyItems(f"{count} {what}; the limit is {limit} a request")


async def read_body(receive: Receive) -> bytes:
    """The whole body, at less cost than starlette's own; ClientDisconnect if the client leaves before its end."""
    chunks, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def read_json(receive: Receive, model: type[Model]) -> tuple[Model, int]:
    """The body as `model`, and its size in bytes; BadRequest or InvalidRequest if it is none."""
    body = await read_body(receive)
    return await parsed(body, model), len(body)


async def parsed(body: bytes, model: type[Model]) -> Model:
    """JSON as `model`; raises as `read_json`."""
    body = body.removeprefix(b"\xef\xbb\xbf")  # the mark that some programs write before JSON
    check_values(body)
    return await away(len(body), validated, model.model_validate_json, body)


def check_values(json: bytes, name: str = "the JSON body") -> None:
    """BodyTooLarge for JSON that has more in it, texts included, than can be read while others wait."""
    if len(json) <= MAX_OBJECTS or _few_commas(json):
        return
    for mark, most, what in _MARKS:
        if json.count(mark) >= most:
            raise BodyTooLarge(f"{name} has more than {most} {what}; send it in several requests")


def _few_commas(json: bytes) -> bool:
    """Whether that spares counting: `find` leaps over the base64 of images, `count` takes each byte of it."""
    start = 0
    for _ in range(_FEW):
        start = json.find(b",", start) + 1
        if not start:
            return True
    return False


async def json_only(request: Request, model: type[Model]) -> Model:
    """As `read_json`, for a route that reads nothing else; UnsupportedMediaType for another content type."""
    if (kind := media_type(request.scope)) != JSON:
        raise unsupported(kind, f"this route reads {JSON}")
    return (await read_json(request.receive, model))[0]


async def away(size: int, function: Callable[..., Value], *args: Any) -> Value:
    """`function(*args)`, whose work grows with the `size` of a body: in a thread, unless that would cost more."""
    if size < _SMALL:
        return function(*args)
    return await to_thread.run_sync(function, *args)


async def read_form(
    request: Request, names: tuple[str, ...], max_files: int, files: str, *, max_field_bytes: int = MAX_FIELD_BYTES
) -> Form:
    """As `multipart.read_form`, of a request whose media type says so; `files` says what `max_files` means."""
    content_type = header(request.scope, b"content-type")
    return await multipart.read_form(content_type, request.receive, names, Limits(max_files, files, max_field_bytes))


def options(model: type[Model], texts: dict[str, list[str]], lists: Iterable[str] = ()) -> Model:
    """A form's text fields, or a query, as `model`: the last of each, but all of those in `lists`."""
    return validated(model.model_validate, {k: found if k in lists else found[-1] for k, found in texts.items()})


def query(model: type[Model], request: Request, lists: Iterable[str] = ()) -> Model:
    """The query of a request to a plain route as `model`."""
    if not request.scope["query_string"]:  # starlette's parameters cost more than an empty model
        return model()
    texts: dict[str, list[str]] = defaultdict(list)
    for name, text in request.query_params.multi_items():
        texts[name].append(text)
    return options(model, texts, lists)


def documented(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The query of a plain route for /openapi.json."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            # As FastAPI writes it: that null is allowed, not that it is the default.
            "schema": {key: value for key, value in schema.items() if (key, value) != ("default", None)},
        }
        for name, schema in model.model_json_schema()["properties"].items()
    ]


def validated(validate: Callable[[Any], Value], value: object) -> Value:
    """`validate(value)` of a pydantic model or type; its ValidationError as BadRequest or InvalidRequest."""
    try:
        return validate(value)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_context=False, include_input=False)) from None
