"""/v1/embeddings and /v1/models: OpenAI's shapes, for its clients and all that speak like them; images in `input`."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from starlette.responses import Response

from amcl_serve.errors import AmclError, BadRequest, InvalidRequest, TooManyItems, UnsupportedMediaType
from amcl_serve.http.input import away, from_text, media_type, read_json
from amcl_serve.http.output import timed_json
from amcl_serve.http.routes.embed import embed_images
from amcl_serve.http.shapes.openai import EmbeddingsAnswer, EmbeddingsRequest, OpenAIModel, OpenAIModelList
from amcl_serve.http.state import metrics_of, model_of, registry_of, settings_of
from amcl_serve.model.encoder import unit_norm

router = APIRouter(prefix="/v1", tags=["openai"])

BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/EmbeddingsRequest"}}},
}


@router.post(
    "/embeddings",
    summary="Embed images, for OpenAI's clients",
    response_model=EmbeddingsAnswer,
    responses={200: {"description": "Features of unit norm, in the order of the images"}},
    openapi_extra={"requestBody": BODY},
)
async def embeddings(request: Request) -> Response:
    """Embed the images in `input`: data URIs or base64, one or a list.

    These shapes have no errors of single items: one bad image fails the request, named by its index.
    """
    if (kind := media_type(request)) != "application/json":
        raise UnsupportedMediaType(f"the content type is {kind or 'missing'}; this route reads application/json")
    body, size = await read_json(request, EmbeddingsRequest)
    model = model_of(request, body.model)
    if body.dimensions not in (None, model.bundle.card.feature_dim):
        raise BadRequest(
            f"dimensions: {model.name} has {model.bundle.card.feature_dim}, not {body.dimensions}; leave it out"
        )
    limit = settings_of(request).max_items
    if not isinstance(body.input, str) and len(body.input) > limit:
        raise TooManyItems(f"{len(body.input)} images in `input`; the limit is {limit} a request")
    result = await embed_images(request, model, await away(size, _images, body.input))
    rows = []
    for place, item in zip(_places(body.input), result.items, strict=True):
        if isinstance(item, AmclError):
            raise _at(place, item)
        rows.append(unit_norm(item.features).astype(np.float32))
    form = _base64 if body.encoding_format == "base64" else lambda row: row
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": form(row)} for index, row in enumerate(rows)],
        "model": model.name,
        "usage": {"prompt_tokens": len(rows), "total_tokens": len(rows)},
    }
    return timed_json(answer, result.timing, metrics_of(request))


@router.get("/models", summary="The loaded models, for OpenAI's clients")
async def models(request: Request) -> OpenAIModelList:
    """Their names."""
    return OpenAIModelList(data=[OpenAIModel(id=model.name) for model in registry_of(request.app).all()])


@router.get("/models/{name}", summary="One model, for OpenAI's clients")
async def model(request: Request, name: str) -> OpenAIModel:
    """Its name, if it is loaded."""
    return OpenAIModel(id=model_of(request, name).name)


def _images(given: str | list[str]) -> list[bytes]:
    """The images' bytes; raises the error of the first that has none."""
    images = []
    for place, text in zip(_places(given), [given] if isinstance(given, str) else given, strict=True):
        try:
            image = from_text(text)
        except InvalidRequest as error:
            image = error
        if isinstance(image, AmclError):
            raise _at(place, image)
        images.append(image)
    return images


def _places(given: str | list[str]) -> list[str]:
    """What an error calls each image."""
    return ["input"] if isinstance(given, str) else [f"input[{index}]" for index in range(len(given))]


def _at(place: str, error: AmclError) -> AmclError:
    return type(error)(f"{place}: {error.detail}")


def _base64(row: npt.NDArray[np.float32]) -> Any:
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
