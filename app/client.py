"""The page as a client of the API, in the same process: the same routes, limits and figures as for anyone else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI
from httpx import ASGITransport

from amcl_serve.client import AsyncClient, PairsAnswer, Point, Retry
from amcl_serve.client.calls import Call, checked, result
from amcl_serve.errors import AmclError, Forbidden
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.http.server import server_in
from app.visitor import for_visitors

T = TypeVar("T")

_WORDS = {"a": "First image", "b": "Second image", "file": "Picture", "query": "Picture"}
READ_ONLY = "This server has keys, and with them the page only reads. Do it through the API, with a read-write key."


class Refused(Exception):
    """The API refused; `detail` is its sentence, in the page's words for the images."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @classmethod
    def by(cls, error: AmclError) -> Refused:
        """What the API's error says of the first image that it is due to."""
        said = [f"{_WORDS[item.operand]}: {item.detail}" for item in error.items if item.operand in _WORDS]
        return cls(READ_ONLY if isinstance(error, Forbidden) else said[0] if said else error.detail)


class _Calls(AsyncClient):
    """The client, with the calls that it has no methods for."""

    async def search(self, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The points of a query, as the API's JSON says it."""
        path = f"/collections/{quote(name, safe='')}/points/query"
        return list(result(await self._send(Call.json("POST", path, body)))["points"])

    async def search_by(self, name: str, image: bytes, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same by an image's bytes."""
        path = f"/collections/{quote(name, safe='')}/points/query"
        fields = {key: value if isinstance(value, str) else json.dumps(value) for key, value in body.items()}
        call = Call("POST", path, files=[("file", ("image", image))], data=fields)
        return list(result(await self._send(call))["points"])

    async def change(self, name: str, what: str) -> dict[str, Any]:
        """POST /models/{name}/load or unload."""
        path = f"/models/{quote(name, safe='')}/{what}"
        found: dict[str, Any] = checked(await self._send(Call("POST", path, idempotent=False))).json()
        return found


class Client:
    """Calls the routes of `api` without a socket; the server's own deadlines end what takes too long.

    Every method raises Refused with the reason.
    """

    def __init__(self, api: FastAPI) -> None:
        transport = ASGITransport(app=for_visitors(api), raise_app_exceptions=False)
        self._calls = _Calls("http://page", retry=Retry(attempts=1), transport=transport)
        self._server = server_in(api)

    def answering(self, name: str | None = None) -> LoadedModel:
        """The loaded model of that name, or the default one."""
        try:
            return self._server.models.get(name or None)
        except AmclError as error:
            raise Refused.by(error) from None

    def names(self) -> list[str]:
        """Of the loaded models, the default one first."""
        loaded = self._server.models
        return sorted((model.name for model in loaded.all()), key=lambda name: (name != loaded.default, name))

    async def similarity(self, first: bytes, second: bytes, model: str | None = None) -> PairsAnswer:
        """The body of POST /similarity for one pair of image files."""
        return await _said(self._calls.similarity([first], [second], model=model))

    async def collections(self) -> list[str]:
        """Names of the collections."""
        return await _said(self._calls.collections())

    async def collection(self, name: str) -> dict[str, Any]:
        """What GET /collections/{name} says."""
        return await _said(self._calls.collection(name))

    async def search(self, name: str, body: Mapping[str, Any], image: bytes | None = None) -> list[dict[str, Any]]:
        """The points of a query, whose `query` is left out where it is an image."""
        asked = self._calls.search(name, body) if image is None else self._calls.search_by(name, image, body)
        return await _said(asked)

    async def create(self, name: str, *, heads: bool) -> None:
        """Make a collection that keeps thumbnails and, if asked, heads."""
        await _said(self._calls.create_collection(name, thumbnails=True, heads=heads))

    async def write(self, name: str, points: Sequence[Point]) -> None:
        """Write points into a collection."""
        await _said(self._calls.upsert(name, points))

    async def models(self) -> list[dict[str, Any]]:
        """What GET /models/{name} says of each loaded model."""
        return [await _said(self._calls.model(str(model["name"]))) for model in await _said(self._calls.models())]

    async def load(self, name: str) -> str:
        """Load a model from the server's folder; the outcome in the API's word."""
        return str((await _said(self._calls.change(name, "load")))["outcome"])

    async def uncalibrate(self, name: str) -> bool:
        """Undo a model's own calibration; whether there was one."""
        return await _said(self._calls.uncalibrate(name))

    async def unload(self, name: str) -> str:
        """Free a model; the outcome in the API's word."""
        return str((await _said(self._calls.change(name, "unload")))["outcome"])


async def _said(call: Awaitable[T]) -> T:
    try:
        return await call
    except AmclError as error:
        raise Refused.by(error) from None
