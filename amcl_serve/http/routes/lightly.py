"""/v1/describe and /v1/embed/images/bytes: LightlyStudio's protocol for embeddings, answered by the default model."""

from __future__ import annotations

import numpy as np
from fastapi import Request
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import InvalidRequest, NotReady
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.output import timed_json
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body
from amcl_serve.http.reading.images import Image, embed_images
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.lightly import LightlyDescription, LightlyEmbeddings, LightlyLimits
from amcl_serve.model.encoder import unit_norm

router = routes("/v1", tag="lightly")
plain = routes("/v1", tag="lightly", plain=True)

_FORM = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}


@router.get("/describe", summary="The default model, for LightlyStudio")
@about(Access.READ, NotReady)
async def describe(request: Request) -> LightlyDescription:
    """Its space, dimension and limits."""
    server = server_of(request)
    model = server.models.get()
    return LightlyDescription(
        space_key=_space(model),
        dimension=model.bundle.card.feature_dim,
        ready=model.engine.healthy,
        capabilities=["image_bytes"],
        limits=LightlyLimits(
            max_batch_size=server.settings.max_items, max_request_bytes=server.settings.max_body_bytes
        ),
    )


@plain.post(
    "/embed/images/bytes",
    summary="Embed images, for LightlyStudio",
    response_model=LightlyEmbeddings,
    responses={200: {"description": "Features of unit norm, of the files that are images"}},
    openapi_extra={"requestBody": {"required": True, "content": {body.MULTIPART: {"schema": _FORM}}}},
)
@about(Access.READ, images=True)
async def embed(request: Request) -> Response:
    """Embed the images in the form's `files`; what is no image is left out of `kept_indices`."""
    server = server_of(request)
    if (kind := body.media_type(request.scope)) != body.MULTIPART:
        raise body.unsupported(kind, f"this route reads {body.MULTIPART} with `files`")
    limit = server.settings.max_items
    form = await body.read_form(request, ("files",), limit, f"at most {limit} images a request")
    images = list[Image](form.files["files"])
    if not images:
        raise InvalidRequest("no image: send at least one in `files`")
    with server.models.use() as model:
        found = await embed_images(model.engine, images, request.receive)
    kept = [(index, item) for index, item in enumerate(found.items) if isinstance(item, Embedded)]
    server.metrics.images_rejected(found.items)
    answer = {
        "space_key": _space(model),
        "dimension": model.bundle.card.feature_dim,
        "kept_indices": [index for index, _ in kept],
        "embeddings": [unit_norm(item.features).astype(np.float32) for _, item in kept],
    }
    return timed_json(answer, found.timing, server.metrics)


def _space(model: LoadedModel) -> str:
    return f"amcl-serve/{model.name}@{model.bundle.digest}"
