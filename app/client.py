"""The page as a client of the API, in the same process: the same route, limits and figures as for anyone else."""

from __future__ import annotations

from fastapi import FastAPI
from httpx import ASGITransport

from amcl_serve.client import AsyncClient, PairsAnswer, Retry
from amcl_serve.errors import AmclError
from app.visitor import for_visitors

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
        transport = ASGITransport(app=for_visitors(api), raise_app_exceptions=False)
        self._client = AsyncClient("http://page", retry=Retry(attempts=1), transport=transport)

    async def similarity(self, first: bytes, second: bytes) -> PairsAnswer:
        """The body of POST /similarity for one pair of image files; raises Refused with the reason."""
        try:
            return await self._client.similarity([first], [second])
        except AmclError as error:
            raise Refused(error.detail) from None
