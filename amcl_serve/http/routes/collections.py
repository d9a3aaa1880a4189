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
from amcl_serve.http.shapes.collections import CollectionDetail, CollectionList, CreateRequest, Envelope, Existence
from amcl_serve.vectors.index.graph import BUILD_WIDTH, NEIGHBOURS
from amcl_serve.vectors.index.grower import LARGE

router = routes("/collections", tag="collections")

# What Qdrant's clients want to read.
_OPTIMIZER = {
    "deleted_threshold": 0.3,
    "vacuum_min_vector_number": LARGE,
    "default_segment_number": 1,
    "flush_interval_sec": 0,
}


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
    if body.heads:
        models = server.models.all() if wanted is None else [server.models.get(wanted)]
        if not any(each.bundle.card.num_heads and each.bundle.card.feature_dim == size for each in models):
            raise InvalidRequest(f"heads: no model that could embed images to vectors of size {size} has heads")
    kept = {"thumbnails": body.thumbnails, "heads": body.heads}
    await call(server, server.collections.create, name, size, body.vectors.distance, index=body.choice, **kept)
    return enveloped(True, started)


@router.get("/{name}", summary="One collection", response_model=Envelope[CollectionDetail])
@about(Access.READ, NotReady, InvalidRequest, CollectionNotFound)
async def describe(request: Request, name: str, started: Started) -> Response:
    """Size, distance, number of points, and the model that embedded its images."""
    server = server_of(request)
    info = await call(server, server.collections.describe, name)
    fields = await call(server, server.collections.fields, name)
    precision = info.index.precision
    result = {
        "status": "green" if all(field.filled for field in fields) else "yellow",
        "optimizer_status": "ok",
        "points_count": info.points,
        "indexed_vectors_count": info.in_graph,
        "segments_count": 1,
        "config": {
            "params": {
                "vectors": {
                    "size": info.size,
                    "distance": info.distance,
                    "datatype": "float16" if precision == "float16" else "float32",
                }
            },
            "hnsw_config": {
                "m": NEIGHBOURS,
                "ef_construct": BUILD_WIDTH,
                "full_scan_threshold": LARGE * info.size // 256,
            },
            "optimizer_config": _OPTIMIZER,
            "quantization_config": {"scalar": {"type": "int8"}} if precision == "int8" else None,
        },
        "index": {"kind": info.index.kind, "precision": precision, "used": info.used},
        "payload_schema": {field.name: {"data_type": field.schema, "points": field.points} for field in fields},
        "model": None if info.model is None else {"name": info.model.name, "digest": info.model.digest},
        "thumbnails": info.thumbnails,
        "heads": info.heads,
    }
    return enveloped(result, started)


@router.get("/{name}/exists", summary="Whether there is a collection", response_model=Envelope[Existence])
@about(Access.READ, NotReady)
async def exists(request: Request, name: str, started: Started) -> Response:
    """By its name or an alias."""
    server = server_of(request)
    try:
        await call(server, server.collections.describe, name)
    except CollectionNotFound:
        return enveloped({"exists": False}, started)
    return enveloped({"exists": True}, started)


@router.delete("/{name}", summary="Remove a collection", response_model=Envelope[bool])
@about(Access.WRITE, NotReady, InvalidRequest, StorageFull)
async def drop(request: Request, name: str, started: Started) -> Response:
    """Remove it with its points; the result is false if there was none."""
    server = server_of(request)
    return enveloped(await call(server, server.collections.drop, name), started)
