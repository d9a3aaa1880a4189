"""Sends calls, again where that may help, and closes the connections at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx

import amcl_serve
from amcl_serve.client.calls import Call, Limits, checked
from amcl_serve.client.images import Image, to_bytes
from amcl_serve.client.retry import Retry, Tries
from amcl_serve.client.waiting import async_call, async_sleep
from amcl_serve.errors import Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 60.0  # seconds without a byte


class AsyncSender:
    """What all methods have in common: one server, one pool of connections, one patience."""

    _sleep = staticmethod(async_sleep)

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        timeout: float = TIMEOUT,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self.retry = retry
        self.timeout = timeout
        self.limits = limits
        headers = {"user-agent": f"amcl-serve/{amcl_serve.__version__}"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL:
            base = httpx.URL()
        if base.scheme not in ("http", "https") or not base.host:
            raise Unreachable(f"{url!r} is no URL; one looks like {DEFAULT_URL}")
        # A proxy from the environment cannot reach this machine's own addresses.
        local = base.host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.AsyncClient(base_url=base, headers=headers, trust_env=not local, transport=transport)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, call: Call) -> httpx.Response:
        """The answer to a call, whatever its status; Unreachable where there is none."""
        tries = Tries(self.retry, call)
        outcome: httpx.Response | httpx.TransportError
        arguments: dict[str, Any] = call.arguments()
        while True:
            try:
                outcome = await self._http.request(**arguments, timeout=tries.timeout(self.timeout))
            except httpx.TransportError as error:
                outcome = error
            pause = tries.pause(outcome)
            if pause is not None:
                await self._sleep(pause)
            elif isinstance(outcome, httpx.Response):
                return outcome
            else:
                raise self._unreachable(outcome)

    @asynccontextmanager
    async def _opened(self, call: Call) -> AsyncIterator[httpx.Response]:
        """The answer to a call while it comes, which is a success; raises as `checked`, and Unreachable as `_send`."""
        tries = Tries(self.retry, call)
        request = self._http.build_request(**call.arguments(), timeout=self.timeout)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(request, stream=True)
            except httpx.TransportError as error:
                outcome = error
            pause = tries.pause(outcome)
            if pause is None:
                break
            if isinstance(outcome, httpx.Response):
                await outcome.aclose()
            await self._sleep(pause)
        if isinstance(outcome, httpx.TransportError):
            raise self._unreachable(outcome)
        try:
            if not outcome.is_success:
                await outcome.aread()
            yield checked(outcome)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        finally:
            await outcome.aclose()

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"no server answers at {self.url} ({type(error).__name__}); "
            "start one with `amcl-serve serve`, or give another URL"
        )

    async def _content(self, image: Image) -> bytes:
        """The bytes of an image file."""
        return image if isinstance(image, bytes) else await async_call(to_bytes, image)
