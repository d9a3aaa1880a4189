"""/v1/embeddings and /v1/models: OpenAI's shapes, for its clients and all that speak like them; images in `input`."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from amcl_serve.errors import ModelNotFound, NotReady
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.encodings import ENCODINGS
from amcl_serve.http.answers.output import timed_json
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body
from amcl_serve.http.reading.images import Texts, embed_all
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.openai import EmbeddingsAnswer, EmbeddingsRequest, OpenAIModel, OpenAIModelList

router = routes("/v1", tag="openai")
plain = routes("/v1", tag="openai", plain=True)


@plain.post(
    "/embeddings",
    summary="Embed images, for OpenAI's clients",
    response_model=EmbeddingsAnswer,
    responses={200: {"description": "Features of unit norm, in the order of the images"}},
)
@about(Access.READ, ModelNotFound, images=True, body=EmbeddingsRequest)
async def embeddings(request: Request) -> Response:
    """Embed the images in `input` (data URIs or base64, one or a list; Jina's objects) or in `messages` (vLLM's form).

    These shapes have no errors of single items: one bad image fails the request, named by its index.
    """
    given = await body.json_only(request, EmbeddingsRequest)
    texts = Texts(*given.images)
    model, rows, timing = await embed_all(request, texts, given.model, given.dimensions, "dimensions")
    form = ENCODINGS[given.encoding_type or given.encoding_format or "float"]
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": form(row)} for index, row in enumerate(rows)],
        "model": model,
        "usage": {"prompt_tokens": len(rows), "total_tokens": len(rows)},
    }
    return timed_json(answer, timing, server_of(request).metrics)


@router.get("/models", summary="The loaded models, for OpenAI's clients")
@about(Access.READ, NotReady)
async def models(request: Request) -> OpenAIModelList:
    """Their names."""
    return OpenAIModelList(data=[OpenAIModel(id=model.name) for model in server_of(request).models.all()])


@router.get("/models/{name}", summary="One model, for OpenAI's clients")
@about(Access.READ, NotReady, ModelNotFound)
async def model(request: Request, name: str) -> OpenAIModel:
    """Its name, if it is loaded."""
    return OpenAIModel(id=server_of(request).models.get(name).name)
