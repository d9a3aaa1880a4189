"""/collections: made, described, removed. Shapes and names are Qdrant's; what is answered is durable."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from amcl_serve.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    ModelNotFound,
    NotReady,
    StorageFull,
)
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import Started, Wanted, enveloped
from amcl_serve.http.calls import call
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.collections import CollectionDetail, CollectionList, CreateRequest, Envelope

router = routes("/collections", tag="collections")


@router.get("", summary="The collections", response_model=Envelope[CollectionList])
@about(Access.READ, NotReady)
async def collections(request: Request, started: Started) -> Response:
    """Their names, sorted."""
    server = server_of(request)
    names = await call(server, server.collections.names)
    return enveloped({"collections": [{"name": name} for name in names]}, started)


@router.put("/{name}", summary="Create a collection", response_model=Envelope[bool])
@about(Access.WRITE, NotReady, InvalidRequest, CollectionExists, ModelNotFound, StorageFull)
async def create(request: Request, name: str, body: CreateRequest, started: Started, wanted: Wanted = None) -> Response:
    """Make an empty collection; without a size, its vectors are as long as the model's features."""
    server = server_of(request)
    size = body.vectors.size or server.models.get(wanted).bundle.card.feature_dim
    await call(server, server.collections.create, name, size, body.vectors.distance)
    return enveloped(True, started)


@router.get("/{name}", summary="One collection", response_model=Envelope[CollectionDetail])
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound)
async def describe(request: Request, name: str, started: Started) -> Response:
    """Size, distance, number of points, and the model that embedded its images."""
    server = server_of(request)
    info = await call(server, server.collections.describe, name)
    result = {
        "status": "green",
        "points_count": info.points,
        "config": {"params": {"vectors": {"size": info.size, "distance": info.distance}}},
        "model": None if info.model is None else {"name": info.model.name, "digest": info.model.digest},
    }
    return enveloped(result, started)


@router.delete("/{name}", summary="Remove a collection", response_model=Envelope[bool])
@about(Access.WRITE, NotReady, InvalidRequest, StorageFull)
async def drop(request: Request, name: str, started: Started) -> Response:
    """Remove it with its points; the result is false if there was none."""
    server = server_of(request)
    return enveloped(await call(server, server.collections.drop, name), started)
