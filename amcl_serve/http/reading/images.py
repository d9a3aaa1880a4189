"""The images of a request: taken out of its body, and embedded as long as its client waits."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pybase64
from fastapi import Request
from starlette.types import Receive

from amcl_serve.engine.engine import Engine
from amcl_serve.engine.submissions import EmbedResult, Timing
from amcl_serve.errors import AmclError, BadRequest, InvalidRequest, ItemFault, UndecodableImage
from amcl_serve.http.guards.disconnect import unless_gone
from amcl_serve.http.reading import body
from amcl_serve.http.server import server_of
from amcl_serve.model.encoder import unit_norm

Image = bytes | AmclError  # the bytes of one image, or why there are none
Row = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Texts:
    """Images as base64 or data URIs, in the member `operand` of a body; a sentence calls each by its place."""

    images: Sequence[str]
    operand: str
    places: Sequence[str]


def from_text(text: str, operand: str, index: int, place: str) -> Image:
    """The bytes of an image given as base64 or data URI, or UndecodableImage as a value; InvalidRequest for a URL.

    It is the `index`-th of `operand`; `place` is what a sentence calls it.
    """
    start = text[:64].lstrip().lower()
    if start.startswith(("http:", "https:", "ftp:", "file:")) or (start[:2] == "//" and "." in start):  # no base64
        raise at(
            InvalidRequest(
                "images are never fetched by URL: send the bytes, as base64, data URI or multipart/form-data"
            ),
            operand,
            index,
            place,
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


def from_texts(texts: Sequence[str], operand: str) -> list[Image]:
    """As `from_text`, of a member that is a list."""
    return [from_text(text, operand, index, f"{operand}[{index}]") for index, text in enumerate(texts)]


def all_from_texts(texts: Sequence[str], operand: str, places: Sequence[str]) -> list[bytes]:
    """The bytes of all images; raises the error of the first that has none, for shapes without errors of items."""
    images = []
    for index, (text, place) in enumerate(zip(texts, places, strict=True)):
        image = from_text(text, operand, index, place)
        if isinstance(image, AmclError):
            raise at(image, operand, index, place)
        images.append(image)
    return images


async def embed_all(
    request: Request, texts: Texts, model: str, dim: int | None, dim_field: str
) -> tuple[str, list[Row], Timing]:
    """The model's name, the features [D] of all images, of unit norm, and the times, for the same shapes.

    BadRequest where the body asks, in its `dim_field`, for vectors of another length `dim` than D.
    """
    server = server_of(request)
    body.check_count(len(texts.images), server.settings.max_items, f"images in `{texts.operand}`")
    with server.models.use(model) as used:
        has = used.bundle.card.feature_dim
        if dim not in (None, has):
            raise BadRequest(f"{dim_field}: {used.name} has {has}, not {dim}; leave it out")
        size = sum(map(len, texts.images))
        images = await body.away(size, all_from_texts, texts.images, texts.operand, texts.places)
        found = await embed_images(used.engine, images, request.receive)
    rows = []
    for index, item in enumerate(found.items):
        if isinstance(item, AmclError):
            raise at(item, texts.operand, index, texts.places[index])
        rows.append(unit_norm(item.features).astype(np.float32))
    return used.name, rows, found.timing


async def embed_images(
    engine: Engine, images: Sequence[Image], receive: Receive, *, thumbnails: bool = False
) -> EmbedResult:
    """Embed what has bytes, as long as the client waits; what came as an error stays one, in its place."""
    readable = [image for image in images if isinstance(image, bytes)]
    if not readable:
        return EmbedResult([image for image in images if isinstance(image, AmclError)], Timing(0.0, 0.0, 0.0))
    result = await unless_gone(receive, engine.embed(readable, thumbnails=thumbnails))
    embedded = iter(result.items)
    items = [next(embedded) if isinstance(image, bytes) else image for image in images]
    return EmbedResult(items, result.timing)


def fault(operand: str, index: int, error: AmclError) -> ItemFault:
    """What `error` says of an item."""
    return ItemFault(operand, index, error.code, error.detail)


def at(error: AmclError, operand: str, index: int, place: str = "") -> AmclError:
    """`error` as that of the whole request, due to one item, which the sentence calls `place`."""
    sentence = f"{place}: {error.detail}" if place else error.detail
    return type(error)(sentence, [fault(operand, index, error)])
