"""GET /livez, /readyz, /healthz: for whatever restarts the server or sends it traffic."""

from __future__ import annotations

from fastapi import APIRouter, Request

from amcl_serve.errors import NotReady
from amcl_serve.http.shapes.schemas import Health
from amcl_serve.http.state import registry_of

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="Whether the process answers")
async def livez() -> Health:
    """200 as long as the process answers; restart it when this fails."""
    return Health(status="ok")


@router.get("/readyz", summary="Whether images can be embedded")
@router.get("/healthz", summary="The same as /readyz")
async def readyz(request: Request) -> Health:
    """200 when every model's engine runs; else 503: send no traffic."""
    for model in registry_of(request.app).all():
        if not model.engine.healthy:
            raise NotReady(f"the engine of model {model.name} does not run")
    return Health(status="ok")
