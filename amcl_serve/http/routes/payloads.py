"""/collections/{name}/points/payload, …/index: payloads changed by themselves, and their fields indexed."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from amcl_serve.errors import CollectionNotFound, InvalidRequest, NotReady, StorageFull, TooManyItems
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import Started, enveloped
from amcl_serve.http.calls import call, call_within
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.routes.points import check_choice, operation
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.collections import Envelope, IndexRequest
from amcl_serve.http.shapes.points import DeletePayloadRequest, DeleteRequest, Operation, SetPayloadRequest
from amcl_serve.vectors.types import Chosen

router = routes("/collections", tag="collections")

_ERRORS = (NotReady, InvalidRequest, CollectionNotFound, TooManyItems, StorageFull)


@router.post("/{name}/points/payload", summary="Set members of payloads", response_model=Envelope[Operation])
@about(Access.WRITE, *_ERRORS, body=SetPayloadRequest)
async def set_payload(request: Request, name: str, started: Started) -> Response:
    """Beside those that there are; a member that is there already is replaced whole."""
    server = server_of(request)
    body = await bodies.json_only(request, SetPayloadRequest)
    await check_choice(body)
    chosen, store = Chosen(body.points or [], body.filter), server.collections
    number = await call_within(server, request.receive, store.set_payload, name, chosen, body.payload, key=body.key)
    return enveloped(operation(number), started)


@router.put("/{name}/points/payload", summary="Replace payloads", response_model=Envelope[Operation])
@about(Access.WRITE, *_ERRORS, body=SetPayloadRequest)
async def overwrite_payload(request: Request, name: str, started: Started) -> Response:
    """The whole payload of each point."""
    server = server_of(request)
    body = await bodies.json_only(request, SetPayloadRequest)
    await check_choice(body)
    if body.key is not None:
        raise InvalidRequest("key: whole payloads are replaced; set members of an object inside by POST")
    chosen, store = Chosen(body.points or [], body.filter), server.collections
    number = await call_within(server, request.receive, store.overwrite_payload, name, chosen, body.payload)
    return enveloped(operation(number), started)


@router.post("/{name}/points/payload/delete", summary="Delete members of payloads", response_model=Envelope[Operation])
@about(Access.WRITE, *_ERRORS, body=DeletePayloadRequest)
async def delete_payload(request: Request, name: str, started: Started) -> Response:
    """By their keys; one that is not there is no error."""
    server = server_of(request)
    body = await bodies.json_only(request, DeletePayloadRequest)
    await check_choice(body)
    chosen, store = Chosen(body.points or [], body.filter), server.collections
    number = await call_within(server, request.receive, store.delete_payload, name, chosen, body.keys)
    return enveloped(operation(number), started)


@router.post("/{name}/points/payload/clear", summary="Empty payloads", response_model=Envelope[Operation])
@about(Access.WRITE, *_ERRORS, body=DeleteRequest)
async def clear_payload(request: Request, name: str, started: Started) -> Response:
    """The payload of each point is {} afterwards."""
    server = server_of(request)
    body = await bodies.json_only(request, DeleteRequest)
    await check_choice(body)
    chosen, store = Chosen(body.points or [], body.filter), server.collections
    number = await call_within(server, request.receive, store.overwrite_payload, name, chosen, {})
    return enveloped(operation(number), started)


@router.put("/{name}/index", summary="Index a field of the payloads", response_model=Envelope[Operation])
@about(Access.WRITE, *_ERRORS, body=IndexRequest)
async def index_field(request: Request, name: str, started: Started) -> Response:
    """Filters and orders by it are fast from then on. Answered when all points that there are have been entered."""
    server = server_of(request)
    body = await bodies.json_only(request, IndexRequest)
    schema = body.field_schema or "keyword"
    kind = schema if isinstance(schema, str) else schema.type
    number = await call(server, server.collections.index_field, name, body.field_name, kind)
    return enveloped(operation(number), started)


@router.delete("/{name}/index/{field}", summary="Index a field no longer", response_model=Envelope[Operation])
@about(Access.WRITE, *_ERRORS)
async def forget_field(request: Request, name: str, field: str, started: Started) -> Response:
    """One that is not indexed is no error."""
    server = server_of(request)
    return enveloped(operation(await call(server, server.collections.forget_field, name, field)), started)
