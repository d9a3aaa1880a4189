"""The page as a client of the API, in the same process: the same route, limits and figures as for anyone else."""

from __future__ import annotations

from fastapi import FastAPI
from httpx import ASGITransport

from amcl_serve.client import AsyncClient, PairsAnswer, Retry
from amcl_serve.errors import AmclError
from app.visitor import for_visitors

_WORDS = {"a": "First image", "b": "Second image"}


class Refused(Exception):
    """The API refused; `detail` is its sentence, in the page's words for the two images."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @classmethod
    def by(cls, error: AmclError) -> Refused:
        """What the API's error says of the first image that it is due to."""
        said = [f"{_WORDS[item.operand]}: {item.detail}" for item in error.items if item.operand in _WORDS]
        return cls(said[0] if said else error.detail)


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
            raise Refused.by(error) from None
