"""/models: what is loaded, what its card says, and how another takes its place."""

from __future__ import annotations

from fastapi import Request

from amcl_serve.errors import Conflict, LoadFailed, ModelBusy, ModelNotFound, NotReady
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.http.about import about, routes
from amcl_serve.http.calls import call
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.models import ModelDetail, ModelList, ModelLoad, ModelSummary, ModelUnload

router = routes(tag="models")


@router.get("/models", summary="The loaded models")
@about(Access.READ, NotReady)
async def models(request: Request) -> ModelList:
    """Name, digest and sizes of each model."""
    loaded = server_of(request).models
    return ModelList(data=[_summary(model, loaded) for model in loaded.all()])


@router.get("/models/{name}", summary="One model's card")
@about(Access.READ, NotReady, ModelNotFound)
async def model(request: Request, name: str) -> ModelDetail:
    """How the model was made, what it was measured at, how its scores are calibrated."""
    server = server_of(request)
    loaded = server.models
    found = loaded.get(name)
    own = await call(server, server.calibrator.own, found)
    card = found.bundle.card
    # The run's config and the file names stay inside: they may hold paths of the machine that trained it.
    return ModelDetail(
        **_summary(found, loaded).model_dump(),
        precisions=list(found.bundle.precisions),
        method=card.method,
        recipe=card.recipe,
        backbone=card.backbone,
        input=card.input,
        temperature=card.temperature,
        parity=card.parity,
        metrics=card.metrics,
        calibration=found.scorer.calibration,
        own_calibration=own,
        feature_calibration=card.feature_calibration,
        training_data=card.training_data,
        licence=card.licence,
        notes=card.notes,
    )


@router.post("/models/{name}/load", summary="Load a model, or the bundle that took its place")
@about(Access.WRITE, NotReady, ModelNotFound, ModelBusy, LoadFailed)
async def load(request: Request, name: str) -> ModelLoad:
    """Load a bundle from the server's model folder; one that is loaded is replaced if its folder holds another now.

    The new one is warmed up and checked before it answers, and requests under way end on the old one. On a failure
    the old one stays.
    """
    server = server_of(request)
    model, outcome = await server.loading.load(name)
    return ModelLoad(outcome=outcome, model=_summary(model, server.models))


@router.post("/models/{name}/unload", summary="Unload a model")
@about(Access.WRITE, NotReady, ModelNotFound, ModelBusy, Conflict)
async def unload(request: Request, name: str) -> ModelUnload:
    """Free a model once its requests have ended; the default model stays, it can only be replaced."""
    await server_of(request).loading.unload(name)
    return ModelUnload(outcome="unloaded")


def _summary(model: LoadedModel, registry: Registry) -> ModelSummary:
    card, placed = model.bundle.card, model.encoder.placement
    return ModelSummary(
        name=model.name,
        digest=model.bundle.digest,
        default=model.name == registry.default,
        description=card.description,
        dim=card.feature_dim,
        heads=card.num_heads,
        head_dim=card.head_dim,
        precision=model.encoder.precision,
        provider=model.encoder.provider,
        nodes=None if placed is None else {name: sum(operators.values()) for name, operators in placed.items()},
    )
