"""Typed access to what the application's lifespan keeps in `app.state`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request

from amcl_serve.errors import NotReady
from amcl_serve.settings import Settings

if TYPE_CHECKING:
    from amcl_serve.hosting.lifecycle import Loader
    from amcl_serve.hosting.registry import LoadedModel, Registry
    from amcl_serve.http.metrics import Metrics


def settings_of(request: Request) -> Settings:
    """The server's settings."""
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


def metrics_of(request: Request) -> Metrics:
    """The application's metrics."""
    metrics: Metrics = request.app.state.metrics
    return metrics


def registry_of(app: FastAPI) -> Registry:
    """The loaded models; NotReady before start-up ends and once draining begins."""
    if not app.state.ready:
        raise NotReady("the server is starting or stopping; try again soon")
    registry: Registry = app.state.registry
    return registry


def loader_of(app: FastAPI) -> Loader:
    """What loads and unloads models; NotReady as `registry_of`."""
    registry_of(app)
    loader: Loader = app.state.loader
    return loader


def model_of(request: Request, name: str | None = None) -> LoadedModel:
    """The model called `name`, or the default; ModelNotFound, NotReady."""
    return registry_of(request.app).get(name)
