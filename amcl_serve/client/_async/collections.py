"""The methods of collections as wholes; names and defaults are the server's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from amcl_serve.client import points as writing
from amcl_serve.client._async.sending import AsyncSender
from amcl_serve.client.calls import Call, named, read, result
from amcl_serve.client.shapes import Distance


class AsyncCollections(AsyncSender):
    """Collections: made, described, removed; their aliases and the indexes of their payloads."""

    async def collections(self) -> list[str]:
        """Names of the collections."""
        response = await self._send(Call("GET", "/collections"))
        found = result(response)
        return read(response, lambda: [str(entry["name"]) for entry in found["collections"]])

    async def collection(self, name: str) -> dict[str, Any]:
        """Points, size, distance and model of a collection; raises CollectionNotFound."""
        found: dict[str, Any] = result(await self._send(Call("GET", writing.path(name))))
        return found

    async def create_collection(
        self,
        name: str,
        *,
        distance: Distance = "Cosine",
        size: int | None = None,
        model: str | None = None,
        kind: Literal["auto", "exact", "hnsw", "ivf"] = "auto",
        precision: Literal["float32", "float16", "int8"] = "float32",
        thumbnails: bool = False,
        heads: bool = False,
    ) -> None:
        """Make a collection of vectors of `size`, by default the model's D; raises CollectionExists.

        `kind` is how it is searched when it is large, `precision` what its index keeps of each number.

        Of each image that is written it keeps a thumbnail, or the heads, which `query(rerank="pairs")` needs.
        """
        vectors = {"distance": distance} | ({} if size is None else {"size": size})
        kept = {"thumbnails": thumbnails, "heads": heads}
        body = {"vectors": vectors, **{name: True for name, asked in kept.items() if asked}}  # older servers know none
        if (kind, precision) != ("auto", "float32"):
            body["index"] = {"kind": kind, "precision": precision}
        result(await self._send(Call.json("PUT", writing.path(name), body, params=named(model), idempotent=False)))

    async def delete_collection(self, name: str) -> None:
        """Remove a collection and its points, if it is there."""
        result(await self._send(Call("DELETE", writing.path(name))))

    async def index_field(self, name: str, field: str, schema: str) -> None:
        """Index a field of the payloads, of one of Qdrant's schemas, such as "keyword"; returns when it is filled."""
        body = {"field_name": field, "field_schema": schema}
        result(await self._send(Call.json("PUT", writing.path(name, "/index"), body)))

    async def aliases(self) -> dict[str, str]:
        """The collection that each alias stands for."""
        response = await self._send(Call("GET", "/aliases"))
        found = result(response)
        return read(
            response, lambda: {str(each["alias_name"]): str(each["collection_name"]) for each in found["aliases"]}
        )

    async def set_aliases(self, aliases: Mapping[str, str | None]) -> None:
        """Let aliases stand for these collections, whatever they stood for; None forgets one. All at once, or none."""
        actions = [
            {"delete_alias": {"alias_name": alias}}
            if collection is None
            else {"create_alias": {"alias_name": alias, "collection_name": collection}}
            for alias, collection in aliases.items()
        ]
        result(await self._send(Call.json("POST", "/collections/aliases", {"actions": actions})))
