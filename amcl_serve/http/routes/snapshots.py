"""/collections/{name}/snapshots: copies of a collection in files, and the way back. Shapes and names are Qdrant's."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import Request
from starlette.responses import FileResponse, Response

from amcl_serve.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    NotReady,
    SnapshotNotFound,
    StorageFull,
)
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import Started, enveloped
from amcl_serve.http.calls import call
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.collections import Envelope
from amcl_serve.http.shapes.snapshots import RecoverRequest, SnapshotDescription
from amcl_serve.vectors.types import CollectionSnapshot

router = routes("/collections", tag="collections")

_ERRORS = (NotReady, InvalidRequest, CollectionNotFound)
_TEXT = {"schema": {"type": "string"}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "headers": dict.fromkeys(("accept-ranges", "content-disposition", "etag", "last-modified"), _TEXT),
        "description": "The file, or the part of it that a `Range` asks for",
    }
}


@router.get("/{name}/snapshots", summary="Snapshots", response_model=Envelope[list[SnapshotDescription]])
@about(Access.READ, *_ERRORS)
async def snapshots(request: Request, name: str, started: Started) -> Response:
    """Of the collection, the oldest first."""
    server = server_of(request)
    return enveloped([_described(each) for each in await call(server, server.collections.snapshots, name)], started)


@router.post("/{name}/snapshots", summary="Make a snapshot", response_model=Envelope[SnapshotDescription])
@about(Access.WRITE, *_ERRORS, StorageFull)
async def create_snapshot(request: Request, name: str, started: Started) -> Response:
    """Copy the collection, as it is now, into a file of the data folder. It is answered when the file is written."""
    server = server_of(request)
    return enveloped(_described(await call(server, server.collections.create_snapshot, name)), started)


@router.put("/{name}/snapshots/recover", summary="Recover from a snapshot", response_model=Envelope[bool])
@about(Access.WRITE, *_ERRORS, SnapshotNotFound, CollectionExists, StorageFull, body=RecoverRequest)
async def recover(request: Request, name: str, started: Started) -> Response:
    """Let the collection, which need not exist, be what a snapshot says: in one step, when all of it has been read."""
    server = server_of(request)
    body = await bodies.json_only(request, RecoverRequest)
    of, snapshot = _place(body.location, name, request.headers.get("host", ""))
    await call(server, server.collections.recover, name, snapshot, of=of, checksum=body.checksum)
    return enveloped(True, started)


@router.get("/{name}/snapshots/{snapshot}", summary="Download a snapshot", response_class=FileResponse, responses=_FILE)
@about(Access.READ, *_ERRORS, SnapshotNotFound)
async def download(request: Request, name: str, snapshot: str) -> Response:
    """The file."""
    server = server_of(request)
    path = await call(server, server.collections.snapshot_file, name, snapshot)
    return FileResponse(path, media_type="application/octet-stream", filename=snapshot)


@router.delete("/{name}/snapshots/{snapshot}", summary="Delete a snapshot", response_model=Envelope[bool])
@about(Access.WRITE, *_ERRORS, SnapshotNotFound)
async def delete_snapshot(request: Request, name: str, snapshot: str, started: Started) -> Response:
    """Remove the file."""
    server = server_of(request)
    await call(server, server.collections.delete_snapshot, name, snapshot)
    return enveloped(True, started)


def _described(found: CollectionSnapshot) -> dict[str, Any]:
    created = found.created.replace(tzinfo=None).isoformat(timespec="seconds")
    return {"name": found.name, "creation_time": created, "size": found.size, "checksum": found.checksum}


def _place(location: str, name: str, host: str) -> tuple[str, str]:
    """The collection and the name of a snapshot of this server: by name, by its URL, or by its file's."""
    url = urlsplit(location)
    parts = PurePosixPath(unquote(url.path)).parts
    if not url.scheme and len(parts) == 1:
        return name, parts[0]
    if url.scheme == "file" and len(parts) > 3 and parts[-3] == "snapshots":
        return parts[-2], parts[-1]
    here = url.scheme in ("http", "https") and url.netloc == host
    if here and len(parts) > 4 and parts[-4] == "collections" and parts[-2] == "snapshots":
        return parts[-3], parts[-1]
    raise InvalidRequest(
        "location: the name of a snapshot of this collection, or the URL under which this server has one; others are "
        "not fetched: put the file into the folder snapshots/COLLECTION of the server's data folder and name it"
    )
