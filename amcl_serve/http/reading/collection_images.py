"""The images that come to a collection: by which of the models, and as vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.types import Receive

from amcl_serve.engine.submissions import Embedded, Timing
from amcl_serve.errors import AmclError, InvalidRequest
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.reading.images import Image, embed_images, fault
from amcl_serve.http.server import Server
from amcl_serve.vectors.types import CollectionInfo, ModelRef, choose_model


@dataclass(frozen=True)
class Place:
    """Where an image stood in the request: the `index`-th of `operand`, and what a sentence calls it."""

    operand: str
    index: int
    words: str


@asynccontextmanager
async def model_for(server: Server, collection: CollectionInfo, wanted: str | None) -> AsyncIterator[LoadedModel]:
    """Hold the model for a collection's images: the one asked for or, of all, the first whose images belong into it."""
    loaded = server.models
    with ExitStack() as held:
        models = [
            held.enter_context(model.lease()) for model in (loaded.all() if wanted is None else [loaded.get(wanted)])
        ]
        references = [reference(model) for model in models]
        yield models[choose_model(collection, references)]


def require_heads(model: LoadedModel, why: str) -> None:
    """InvalidRequest of a model that has none, where `why` they are needed."""
    if not model.bundle.card.num_heads:
        raise InvalidRequest(f"{why}, and the model {model.name} has none: ask for a model that was trained with heads")


def reference(model: LoadedModel) -> ModelRef:
    """What a collection keeps of a model."""
    return ModelRef(model.name, model.bundle.digest, model.bundle.card.feature_dim)


async def embeddings(
    model: LoadedModel,
    images: Sequence[Image],
    places: Sequence[Place],
    receive: Receive,
    *,
    thumbnails: bool = False,
) -> tuple[list[Embedded], Timing]:
    """Embeddings of all images, or an error with a sentence for each bad one: the server's own, else the first."""
    found = await embed_images(model.engine, images, receive, thumbnails=thumbnails)
    bad = [(item, place) for item, place in zip(found.items, places, strict=True) if isinstance(item, AmclError)]
    if bad:
        worst = max((error for error, _ in bad), key=lambda error: error.status >= 500)
        raise type(worst)(
            "; ".join(f"{place.words}: {error.detail}" for error, place in bad),
            [fault(place.operand, place.index, error) for error, place in bad],
        )
    return [item for item in found.items if isinstance(item, Embedded)], found.timing
