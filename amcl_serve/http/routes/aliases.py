"""/aliases, /collections/aliases: second names of collections, moved from one to another in one step."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest, NotReady, StorageFull
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.envelope import Started, enveloped
from amcl_serve.http.calls import call
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.collections import AliasAction, AliasList, AliasRequest, Envelope
from amcl_serve.vectors.types import Alias, CreateAlias, DeleteAlias, RenameAlias

router = routes(tag="collections")


@router.get("/aliases", summary="All aliases", response_model=Envelope[AliasList])
@about(Access.READ, NotReady)
async def aliases(request: Request, started: Started) -> Response:
    """By name."""
    server = server_of(request)
    return enveloped(_listed(await call(server, server.collections.aliases)), started)


@router.get("/collections/{name}/aliases", summary="The aliases of a collection", response_model=Envelope[AliasList])
@about(Access.READ, NotReady, CollectionNotFound)
async def aliases_of(request: Request, name: str, started: Started) -> Response:
    """By name."""
    server = server_of(request)
    return enveloped(_listed(await call(server, server.collections.aliases, name)), started)


@router.post("/collections/aliases", summary="Make, move and remove aliases", response_model=Envelope[bool])
@about(Access.WRITE, NotReady, InvalidRequest, CollectionNotFound, CollectionExists, StorageFull, body=AliasRequest)
async def change_aliases(request: Request, started: Started) -> Response:
    """All actions at once, in their order, or none of them."""
    server = server_of(request)
    body = await bodies.json_only(request, AliasRequest)
    await call(server, server.collections.change_aliases, [_action(each) for each in body.actions])
    return enveloped(True, started)


def _listed(found: list[Alias]) -> dict[str, object]:
    return {"aliases": [{"alias_name": each.alias, "collection_name": each.collection} for each in found]}


def _action(given: AliasAction) -> CreateAlias | DeleteAlias | RenameAlias:
    if given.create_alias is not None:
        return CreateAlias(given.create_alias.alias_name, given.create_alias.collection_name)
    if given.delete_alias is not None:
        return DeleteAlias(given.delete_alias.alias_name)
    assert given.rename_alias is not None
    return RenameAlias(given.rename_alias.old_alias_name, given.rename_alias.new_alias_name)
