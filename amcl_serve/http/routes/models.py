"""/models: what is loaded, what its card says, and how another takes its place."""

from __future__ import annotations

from fastapi import APIRouter, Request

from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.http.shapes.schemas import ModelDetail, ModelList, ModelLoad, ModelSummary, ModelUnload
from amcl_serve.http.state import loader_of, model_of, registry_of

router = APIRouter(tags=["models"])


@router.get("/models", summary="The loaded models")
async def models(request: Request) -> ModelList:
    """Name, digest and sizes of each model."""
    registry = registry_of(request.app)
    return ModelList(data=[_summary(model, registry) for model in registry.all()])


@router.get("/models/{name}", summary="One model's card")
async def model(request: Request, name: str) -> ModelDetail:
    """How the model was made, what it was measured at, how its scores are calibrated."""
    found = model_of(request, name)
    card = found.bundle.card
    # The run's config and the file names stay inside: they may hold paths of the machine that trained it.
    return ModelDetail(
        **_summary(found, registry_of(request.app)).model_dump(),
        precisions=list(found.bundle.precisions),
        method=card.method,
        recipe=card.recipe,
        backbone=card.backbone,
        input=card.input,
        temperature=card.temperature,
        parity=card.parity,
        metrics=card.metrics,
        calibration=card.calibration,
        training_data=card.training_data,
        licence=card.licence,
        notes=card.notes,
    )


@router.post("/models/{name}/load", summary="Load a model, or the bundle that took its place")
async def load(request: Request, name: str) -> ModelLoad:
    """Load a bundle from the server's model folder; one that is loaded is replaced if its folder holds another now.

    The new one is warmed up and checked before it answers, and requests under way end on the old one. On a failure
    the old one stays.
    """
    model, outcome = await loader_of(request.app).load(name)
    return ModelLoad(outcome=outcome, model=_summary(model, registry_of(request.app)))


@router.post("/models/{name}/unload", summary="Unload a model")
async def unload(request: Request, name: str) -> ModelUnload:
    """Free a model once its requests have ended; the default model stays, it can only be replaced."""
    await loader_of(request.app).unload(name)
    return ModelUnload(outcome="unloaded")


def _summary(model: LoadedModel, registry: Registry) -> ModelSummary:
    card = model.bundle.card
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
    )
