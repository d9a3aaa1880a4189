"""/v2/embed: Cohere's shapes, for its clients."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import Response

from amcl_serve.errors import ModelNotFound
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.encodings import ENCODINGS
from amcl_serve.http.answers.output import timed_json
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.logs import request_id
from amcl_serve.http.reading import body
from amcl_serve.http.reading.images import Texts, embed_all
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.cohere import CohereAnswer, CohereRequest

router = routes("/v2", tag="cohere", plain=True)


@router.post(
    "/embed",
    summary="Embed images, for Cohere's clients",
    response_model=CohereAnswer,
    responses={200: {"description": "Features of unit norm, in the order of the images"}},
)
@about(Access.READ, ModelNotFound, images=True, body=CohereRequest)
async def embed(request: Request) -> Response:
    """Embed the images in `images` (data URIs or base64) or in `inputs` (contents with one `image_url` part each).

    These shapes have no errors of single items: one bad image fails the request, named by its index.
    """
    given = await body.json_only(request, CohereRequest)
    operand = "inputs" if given.images is None else "images"
    images = given.images or given.inputs or []
    texts = Texts(images, operand, [f"{operand}[{index}]" for index in range(len(images))])
    _, rows, timing = await embed_all(request, texts, given.model, given.output_dimension, "output_dimension")
    answer: dict[str, Any] = {
        "id": request_id.get(),
        "response_type": "embeddings_by_type",
        "embeddings": {form: [ENCODINGS[form](row) for row in rows] for form in given.embedding_types or ["float"]},
        "texts": [],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"images": len(rows)}},
    }
    return timed_json(answer, timing, server_of(request).metrics)
