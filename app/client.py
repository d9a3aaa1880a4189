"""The page as a client of the API, in the same process: the same route, limits and figures as for anyone else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI

from app.visitor import for_visitors

File = tuple[str, bytes, str]  # name, bytes, media type
_SIDES = (("a: ", "First image: "), ("b: ", "Second image: "))


class Refused(Exception):
    """The API refused; `detail` is its sentence, in the page's words for the two images."""

    def __init__(self, detail: str) -> None:
        for side, words in _SIDES:
            if detail.startswith(side):
                detail = words + detail.removeprefix(side)
        super().__init__(detail)
        self.detail = detail


class Client:
    """Calls the routes of `api` without a socket; the server's own deadline ends a call that takes too long."""

    def __init__(self, api: FastAPI) -> None:
        transport = httpx.ASGITransport(app=for_visitors(api), raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://page")

    async def similarity(self, first: File, second: File) -> Mapping[str, Any]:
        """The body of POST /similarity for one pair; raises Refused with the reason."""
        response = await self._http.post("/similarity", files={"a": first, "b": second})
        body: dict[str, Any] = response.json() if "json" in response.headers.get("content-type", "") else {}
        if response.is_error:
            raise Refused(body.get("detail", "The server could not answer; its log says why."))
        return body
