"""POST /embed: images to vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import Request
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import AmclError, InvalidRequest, ModelNotFound
from amcl_serve.http import body
from amcl_serve.http.about import about, routes
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.headers import header
from amcl_serve.http.images import Image, at, embed_images, from_texts
from amcl_serve.http.output import NPY, failed, timed_json, timed_npy
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.embed import EmbedAnswer, EmbedOptions, EmbedQuery, EmbedRequest
from amcl_serve.model.bundle import ModelCard, Output
from amcl_serve.model.encoder import unit_norm

router = routes(tag="embedding", plain=True)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["files"],
        "properties": {
            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "outputs": {"type": "array", "items": {"enum": ["features", "heads"]}},
            "normalize": {"type": "boolean"},
            "model": {"type": "string"},
        },
    }
}
BODY = {
    "required": True,
    "content": {
        body.MULTIPART: _FORM,
        body.JSON: {"schema": {"$ref": "#/components/schemas/EmbedRequest"}},
        "image/*": _BINARY,
        body.OCTETS: _BINARY,
    },
}
_LISTS = ("outputs",)
_NONE = EmbedOptions()


@router.post(
    "/embed",
    summary="Embed images",
    response_model=EmbedAnswer,
    responses={200: {"content": {NPY: _BINARY}, "description": "The vectors, in order"}},
    openapi_extra={"parameters": body.documented(EmbedQuery), "requestBody": BODY},
)
@about(Access.READ, ModelNotFound, images=True, body=EmbedRequest)
async def embed(request: Request) -> Response:
    """Embed one image (multipart, raw body or JSON) or many (multipart `files`, JSON `images`).

    A bad image among several carries its own `error`; the error of a single image is the response. With
    `Accept: application/x-npy` the good rows come as one array, `x-failed-indices` lists the others, and
    `x-model-digest` is the model's digest.
    """
    server = server_of(request)
    asked = body.query(EmbedQuery, request, _LISTS)
    operand, images, options = await _read(request, server.settings.max_items)
    wanted: set[Output] = set(options.outputs or asked.outputs or ["features"])
    unit = bool(asked.normalize if options.normalize is None else options.normalize)
    npy = NPY in header(request.scope, b"accept")
    if npy and len(wanted) > 1:
        raise InvalidRequest(f"{NPY} holds one array: ask for outputs=features or outputs=heads")
    with server.models.use(options.model or asked.model) as model:
        model.bundle.card.check_outputs(wanted)
        found = await embed_images(model.engine, images, request.receive)
    bad = [(index, item) for index, item in enumerate(found.items) if isinstance(item, AmclError)]
    if bad and len(images) == 1:
        raise at(bad[0][1], operand, 0)
    for _, item in bad:
        server.metrics.rejected.labels(item.code).inc()
    if npy:
        rows = [_row(item, wanted, unit) for item in found.items if isinstance(item, Embedded)]
        array = _array(rows, model.bundle.card, wanted).astype(asked.dtype)
        return timed_npy(array, model.bundle.digest, [index for index, _ in bad], found.timing, server.metrics)
    answer = {
        "model": model.name,
        "digest": model.bundle.digest,
        "dim": model.bundle.card.feature_dim,
        "data": [_item(index, item, wanted, unit) for index, item in enumerate(found.items)],
    }
    return timed_json(answer, found.timing, server.metrics)


async def _read(request: Request, limit: int) -> tuple[str, list[Image], EmbedOptions]:
    """What holds the images, the images, and what the body says of them; counted before anything is decoded."""
    kind = body.media_type(request.scope)
    if kind == body.MULTIPART:
        form = await body.read_form(request, ("files",), limit, f"at most {limit} images a request")
        operand, images = "files", list[Image](form.files["files"])
        options = body.options(EmbedOptions, form.fields, _LISTS)
    elif kind == body.JSON:
        given, size = await body.read_json(request.receive, EmbedRequest)
        body.check_count(len(given.images), limit, "images")
        operand, images, options = "images", await body.away(size, from_texts, given.images, "images"), given
    elif kind == body.OCTETS or kind.startswith("image/"):
        operand, images, options = "images", [await body.read_body(request.receive)], _NONE
    else:
        wanted = f"{body.MULTIPART} with `files`, a raw image/* body, or {body.JSON} with `images`"
        raise body.unsupported(kind, f"this route reads {wanted}")
    if not images:
        raise InvalidRequest("no image: send at least one in `files` (multipart) or `images` (JSON)")
    return operand, images, options


def _item(index: int, item: Embedded | AmclError, wanted: set[Output], unit: bool) -> dict[str, Any]:
    if isinstance(item, AmclError):
        return {"index": index, "error": failed(item)}
    return {"index": index} | _row(item, wanted, unit)


def _row(item: Embedded, wanted: set[Output], unit: bool) -> dict[str, npt.NDArray[np.float32]]:
    row = {}
    if "features" in wanted:
        row["embedding"] = unit_norm(item.features).astype(np.float32) if unit else item.features
    if "heads" in wanted:
        row["heads"] = item.heads
    return row


def _array(
    rows: list[dict[str, npt.NDArray[np.float32]]], card: ModelCard, wanted: set[Output]
) -> npt.NDArray[np.float32]:
    """[n, D] or [n, C, d'], also for n = 0."""
    shape = (card.feature_dim,) if "features" in wanted else (card.num_heads, card.head_dim)
    return np.array([array for row in rows for array in row.values()], np.float32).reshape(-1, *shape)
