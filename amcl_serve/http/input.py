"""Reads images and options out of the three kinds of body: multipart/form-data, raw bytes, JSON."""

from __future__ import annotations

import binascii
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pybase64
from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from amcl_serve.errors import (
    AmclError,
    BadRequest,
    InvalidRequest,
    TooManyItems,
    UndecodableImage,
    UnsupportedMediaType,
)
from amcl_serve.http.headers import header
from amcl_serve.http.problem import invalid
from amcl_serve.http.shapes.schemas import EmbedOptions, EmbedRequest, PointRef, SimilarityOptions, SimilarityRequest

Image = bytes | AmclError  # the bytes of one image, or why there are none
Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")

MULTIPART, JSON, OCTETS = "multipart/form-data", "application/json", "application/octet-stream"
MAX_FIELDS = 16  # text fields of a form: the options
MAX_FIELD_BYTES = 4096
_NO_OPTIONS = EmbedOptions()
_SMALL = 1 << 21  # bytes of JSON that are parsed, and decoded from base64, in a third of a millisecond


@dataclass(frozen=True)
class EmbedInput:
    """What a request to /embed asks for."""

    images: list[Image]
    options: EmbedOptions


@dataclass(frozen=True)
class SimilarityInput:
    """What a request to /similarity asks for."""

    a: list[Image]
    b: list[Image]
    options: SimilarityOptions


async def read_embed(request: Request, *, max_items: int) -> EmbedInput:
    """Images and options of a request to /embed, counted before anything is decoded.

    Raises BadRequest, InvalidRequest, TooManyItems, UnsupportedMediaType and BodyTooLarge for the whole request.
    """
    kind = media_type(request)
    if kind == MULTIPART:
        files, fields = await read_form(request, ("files",), max_items, f"at most {max_items} images a request")
        found = EmbedInput(list(files["files"]), _options(EmbedOptions, fields, lists=("outputs",)))
    elif kind == JSON:
        body, size = await read_json(request, EmbedRequest)
        _count(len(body.images), max_items, "images")
        options = EmbedOptions(outputs=body.outputs, normalize=body.normalize, model=body.model)
        found = EmbedInput(await away(size, _from_texts, "images", body.images), options)
    elif kind == OCTETS or kind.startswith("image/"):
        found = EmbedInput([await read_body(request)], _NO_OPTIONS)
    else:
        raise _unsupported(kind, f"{MULTIPART} with `files`, a raw image/* body, or {JSON} with `images`")
    if not found.images:
        raise InvalidRequest("no image: send at least one in `files` (multipart) or `images` (JSON)")
    return found


async def read_similarity(request: Request, *, max_items: int) -> SimilarityInput:
    """Operands and options of a request to /similarity; at most `max_items` on either side. Raises as `read_embed`."""
    kind = media_type(request)
    if kind == MULTIPART:
        limit = f"at most {max_items} images in `a` and in `b`"
        files, fields = await read_form(request, ("a", "b"), 2 * max_items, limit)
        found = SimilarityInput(list(files["a"]), list(files["b"]), _options(SimilarityOptions, fields))
    elif kind == JSON:
        body, size = await read_json(request, SimilarityRequest)
        _count(max(len(body.a), len(body.b)), max_items, "images in `a` or `b`")
        a, b = [await away(size, _from_texts, name, getattr(body, name)) for name in ("a", "b")]
        found = SimilarityInput(a, b, SimilarityOptions(mode=body.mode, model=body.model))
    else:
        raise _unsupported(kind, f"{MULTIPART} or {JSON}, with `a` and `b`")
    _count(max(len(found.a), len(found.b)), max_items, "images in `a` or `b`")
    if not found.a or not found.b:
        raise InvalidRequest(f"`a` has {len(found.a)} images and `b` has {len(found.b)}; each needs at least one")
    return found


def from_text(text: str) -> Image:
    """The bytes of an image given as base64 or data URI, or UndecodableImage as a value; InvalidRequest for a URL."""
    start = text[:64].lstrip().lower()
    if start.startswith(("http:", "https:", "ftp:", "file:")) or (start[:2] == "//" and "." in start):  # no base64
        raise InvalidRequest(
            "images are never fetched by URL: send the bytes, as base64, data URI or multipart/form-data"
        )
    if start.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.rstrip().lower().endswith(";base64"):
            return UndecodableImage("not a data URI of the form data:image/…;base64,…")
    for spaced in (False, True):  # lines of 76 letters are rare, and taking their ends out costs more than decoding
        try:
            return pybase64.b64decode("".join(text.split()) if spaced else text, validate=True)
        except (ValueError, binascii.Error):  # the first for letters outside ASCII
            continue
    return UndecodableImage("not base64: use the standard alphabet, with padding")


def _from_texts(name: str, texts: Sequence[str | PointRef]) -> list[Image]:
    images: list[Image] = []
    for index, text in enumerate(texts):
        if isinstance(text, PointRef):
            raise InvalidRequest(
                f"{name}[{index}]: a stored point has features but no heads, which a pair's score needs: send its image"
            )
        try:
            images.append(from_text(text))
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}[{index}]: {error.detail}") from None
    return images


def media_type(request: Request) -> str:
    """The request's content type without its parameters; empty if there is none."""
    return header(request.scope, b"content-type").partition(";")[0].strip().lower()


def _unsupported(kind: str, wanted: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"the content type is {kind or 'missing'}; this route reads {wanted}")


def _count(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise TooManyItems(f"{count} {what}; the limit is {limit} a request")


async def read_body(request: Request) -> bytes:
    """The whole body, at less cost than starlette's own; ClientDisconnect if the client leaves before its end."""
    chunks, more = [], True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def read_json(request: Request, model: type[Model]) -> tuple[Model, int]:
    """The body as `model`, and its size in bytes; BadRequest or InvalidRequest if it is none."""
    body = await read_body(request)
    return await away(len(body), validated, model.model_validate_json, body), len(body)


async def away(size: int, function: Callable[..., Value], *args: Any) -> Value:
    """`function(*args)`, whose work grows with the `size` of a body: in a thread, unless that would cost more."""
    if size < _SMALL:
        return function(*args)
    return await to_thread.run_sync(function, *args)


async def read_form(
    request: Request, names: tuple[str, ...], max_files: int, limit: str, *, max_field_bytes: int = MAX_FIELD_BYTES
) -> tuple[dict[str, list[bytes]], dict[str, list[str]]]:
    """The files under each of `names`, and the text fields; `limit` says what `max_files` means.

    Raises BadRequest, InvalidRequest, TooManyItems, and what reading the body raises.
    """
    files: dict[str, list[bytes]] = {name: [] for name in names}
    fields: dict[str, list[str]] = defaultdict(list)
    try:
        async with request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=max_field_bytes) as form:
            for name, part in form.multi_items():
                if not isinstance(part, UploadFile):
                    fields[name].append(part)
                elif name in files:
                    files[name].append(await part.read())
                else:
                    raise InvalidRequest(f"unknown file field {name[:64]!r}; images go into {_listed(names)}")
    except HTTPException as error:
        if str(error.detail).startswith("Too many files"):  # starlette tells its refusals apart by their text alone
            raise TooManyItems(f"too many files; the limit is {limit}") from None
        raise BadRequest(
            "the multipart body is malformed, or a text field is too long, or there are too many"
        ) from None
    for name in names:
        if name in fields:
            raise InvalidRequest(f"{name!r} was sent as text; send it as a file: a part with a filename")
    return files, fields


def _options(model: type[Model], fields: dict[str, list[str]], lists: tuple[str, ...] = ()) -> Model:
    values = {name: texts if name in lists else texts[-1] for name, texts in fields.items()}
    return validated(model.model_validate, values)


def validated(validate: Callable[[Any], Value], value: object) -> Value:
    """`validate(value)` of a pydantic model or type; its ValidationError as BadRequest or InvalidRequest."""
    try:
        return validate(value)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_context=False, include_input=False)) from None


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(f"`{name}`" for name in names)
