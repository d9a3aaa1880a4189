"""POST /embed: images to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded, EmbedResult, Timing
from amcl_serve.errors import AmclError, InvalidRequest
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.guards.disconnect import unless_gone
from amcl_serve.http.headers import header
from amcl_serve.http.input import Image, read_embed
from amcl_serve.http.output import NPY, failed, timed_json, timed_npy
from amcl_serve.http.shapes.schemas import EmbedAnswer, Name, Output
from amcl_serve.http.state import metrics_of, model_of, settings_of
from amcl_serve.model.encoder import unit_norm

router = APIRouter(tags=["embedding"])

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
        "multipart/form-data": _FORM,
        "application/json": {"schema": {"$ref": "#/components/schemas/EmbedRequest"}},
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
    },
}


@router.post(
    "/embed",
    summary="Embed images",
    response_model=EmbedAnswer,
    responses={200: {"content": {NPY: _BINARY}, "description": "The vectors, in order"}},
    openapi_extra={"requestBody": BODY},
)
async def embed(
    request: Request,
    outputs: Annotated[list[Output] | None, Query(description="unless the body says it; repeat for both")] = None,
    normalize: Annotated[bool | None, Query(description="unless the body says it")] = None,
    name: Annotated[Name | None, Query(alias="model", description="unless the body says it")] = None,
    dtype: Annotated[Literal["float32", "float16"], Query(description="of an answer in application/x-npy")] = "float32",
) -> Response:
    """Embed one image (multipart, raw body or JSON) or many (multipart `files`, JSON `images`).

    A bad image among several carries its own `error`; the error of a single image is the response. With
    `Accept: application/x-npy` the good rows come as one array, `x-failed-indices` lists the others, and
    `x-model-digest` is the model's digest.
    """
    found = await read_embed(request, max_items=settings_of(request).max_items)
    model = model_of(request, found.options.model or name)
    wanted: set[Output] = set(found.options.outputs or outputs or ["features"])
    unit = bool(found.options.normalize if found.options.normalize is not None else normalize)
    npy = NPY in header(request.scope, b"accept")
    if npy and len(wanted) > 1:
        raise InvalidRequest(f"{NPY} holds one array: ask for outputs=features or outputs=heads")
    result = await embed_images(request, model, found.images)
    metrics = metrics_of(request)
    for item in result.items:
        if isinstance(item, AmclError):
            if len(result.items) == 1:
                raise item
            metrics.rejected.labels(item.code).inc()
    if npy:
        rows = [_row(item, wanted, unit) for item in result.items if isinstance(item, Embedded)]
        bad = [index for index, item in enumerate(result.items) if isinstance(item, AmclError)]
        array = _array(rows, model, wanted).astype(dtype)
        return timed_npy(array, model.bundle.digest, bad, result.timing, metrics)
    answer = {
        "model": model.name,
        "digest": model.bundle.digest,
        "dim": model.bundle.card.feature_dim,
        "data": [_item(index, item, wanted, unit) for index, item in enumerate(result.items)],
    }
    return timed_json(answer, result.timing, metrics)


async def embed_images(request: Request, model: LoadedModel, images: Sequence[Image]) -> EmbedResult:
    """Embed what has bytes, as long as the client waits; what came as an error stays one, in its place."""
    readable = [image for image in images if isinstance(image, bytes)]
    if not readable:
        return EmbedResult([image for image in images if isinstance(image, AmclError)], Timing(0.0, 0.0, 0.0))
    result = await unless_gone(request, model.engine.embed(readable))
    embedded = iter(result.items)
    items = [next(embedded) if isinstance(image, bytes) else image for image in images]
    return EmbedResult(items, result.timing)


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
    rows: list[dict[str, npt.NDArray[np.float32]]], model: LoadedModel, wanted: set[Output]
) -> npt.NDArray[np.float32]:
    """[n, D] or [n, C, d'], also for n = 0."""
    card = model.bundle.card
    shape = (card.feature_dim,) if "features" in wanted else (card.num_heads, card.head_dim)
    return np.array([array for row in rows for array in row.values()], np.float32).reshape(-1, *shape)
