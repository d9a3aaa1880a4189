"""GET /models and /models/{name}: what is loaded, and what its card says."""

from __future__ import annotations

from fastapi import APIRouter, Request

from amcl_serve.api.schemas import ModelDetail, ModelList, ModelSummary
from amcl_serve.api.state import model_of, registry_of
from amcl_serve.registry import LoadedModel

router = APIRouter(tags=["models"])


@router.get("/models", summary="The loaded models")
async def models(request: Request) -> ModelList:
    """Name, digest and sizes of each model."""
    return ModelList(data=[_summary(model) for model in registry_of(request.app).all()])


@router.get("/models/{name}", summary="One model's card")
async def model(request: Request, name: str) -> ModelDetail:
    """How the model was made, what it was measured at, how its scores are calibrated."""
    found = model_of(request, name)
    card = found.bundle.card
    # The run's config and the file names stay inside: they may hold paths of the machine that trained it.
    return ModelDetail(
        **_summary(found).model_dump(),
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


def _summary(model: LoadedModel) -> ModelSummary:
    card = model.bundle.card
    return ModelSummary(
        name=model.name,
        digest=model.bundle.digest,
        description=card.description,
        dim=card.feature_dim,
        heads=card.num_heads,
        head_dim=card.head_dim,
        precision=model.encoder.precision,
        provider=model.encoder.provider,
    )
