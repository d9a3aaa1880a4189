"""Client and AsyncClient: what sends the scripts' requests, blocking or awaiting; all else they share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import anyio
import httpx

import amcl_serve
from amcl_serve.client import images, points
from amcl_serve.client.retry import Retry, Tries
from amcl_serve.client.wire import Limits, Request, Script
from amcl_serve.errors import Unreachable

P = ParamSpec("P")
T = TypeVar("T")
Answer = httpx.Response | Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 60.0  # seconds without a byte


class _Method(Generic[P, T]):
    """A script as a method: run when called on a Client, to be awaited when called on an AsyncClient."""

    def __init__(self, script: Callable[Concatenate[Limits, P], Script[T]]) -> None:
        self._script = script

    @overload
    def __get__(self, client: None, owner: type[_Base]) -> Callable[Concatenate[Limits, P], Script[T]]: ...
    @overload
    def __get__(self, client: Client, owner: type[_Base]) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type[_Base]) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type[_Base]) -> Callable[..., Any]:
        """The method of a client; the script itself where there is none."""
        if client is None:
            return self._script

        @functools.wraps(self._script)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._run(self._script(client.limits, *args, **kwargs))

        return method


class _Base:
    """The methods, and what both clients know of their server."""

    embed = _Method(images.embed)
    embed_each = _Method(images.embed_each)
    similarity = _Method(images.similarity)
    similarity_cross = _Method(images.similarity_cross)
    models = _Method(images.models)
    ready = _Method(images.ready)
    collections = _Method(points.collections)
    collection = _Method(points.collection)
    create_collection = _Method(points.create_collection)
    delete_collection = _Method(points.delete_collection)
    upsert = _Method(points.upsert)
    query = _Method(points.query)
    delete = _Method(points.delete)
    count = _Method(points.count)
    scroll = _Method(points.scroll)

    def __init__(self, url: str, api_key: str | None, retry: Retry, timeout: float, limits: Limits) -> None:
        self.url = url
        self.retry = retry
        self.timeout = timeout
        self.limits = limits
        self._headers = {"user-agent": f"amcl-serve/{amcl_serve.__version__}"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"

    def _options(self) -> dict[str, Any]:
        """The arguments of httpx's clients."""
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise Unreachable(f"{self.url!r} is no URL; one looks like {DEFAULT_URL}")
        # A proxy from the environment cannot reach this machine's own addresses.
        local = url.host in ("127.0.0.1", "localhost", "::1")
        return {"base_url": url, "headers": self._headers, "trust_env": not local}

    def _stands(self, outcome: httpx.Response | httpx.TransportError) -> Answer:
        if isinstance(outcome, httpx.Response):
            return outcome
        return Unreachable(
            f"no server answers at {self.url} ({type(outcome).__name__}); "
            "start one with `amcl-serve serve`, or give another URL"
        )


class Client(_Base):
    """A client whose methods block. Connections are kept open until `close`; threads may share it.

    `limits` are what one request may hold, the server's defaults unless told; `timeout` is in seconds without a byte.
    Raises Unreachable where `url` is none.
    """

    _sleep = staticmethod(time.sleep)

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        timeout: float = TIMEOUT,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key, retry, timeout, limits)
        self._http = httpx.Client(transport=transport, **self._options())

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _run(self, script: Script[T]) -> T:
        step = _advance(script, None)
        while isinstance(step, Request):
            step = _advance(script, self._answer(step))
        return step.value

    def _answer(self, request: Request) -> Answer:
        tries = Tries(self.retry, request)
        outcome: httpx.Response | httpx.TransportError
        while True:
            try:
                timeout = tries.timeout(self.timeout)
                outcome = self._http.request(**request.arguments(), timeout=timeout)
            except httpx.TransportError as error:
                outcome = error
            pause = tries.pause(outcome)
            if pause is None:
                return self._stands(outcome)
            self._sleep(pause)


class AsyncClient(_Base):
    """As `Client`, with methods to be awaited. Files are read, and pixels encoded, in a thread."""

    _sleep = staticmethod(anyio.sleep)

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
        super().__init__(url, api_key, retry, timeout, limits)
        self._http = httpx.AsyncClient(transport=transport, **self._options())

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

    async def _run(self, script: Script[T]) -> T:
        step = await anyio.to_thread.run_sync(_advance, script, None)
        while isinstance(step, Request):
            step = await anyio.to_thread.run_sync(_advance, script, await self._answer(step))
        return step.value

    async def _answer(self, request: Request) -> Answer:
        tries = Tries(self.retry, request)
        outcome: httpx.Response | httpx.TransportError
        while True:
            try:
                timeout = tries.timeout(self.timeout)
                outcome = await self._http.request(**request.arguments(), timeout=timeout)
            except httpx.TransportError as error:
                outcome = error
            pause = tries.pause(outcome)
            if pause is None:
                return self._stands(outcome)
            await self._sleep(pause)


@dataclass(frozen=True)
class _Done(Generic[T]):
    value: T


def _advance(script: Script[T], answer: Answer | None) -> Request | _Done[T]:
    """Let a script go on with the answer to its last request: its next request, or its result."""
    try:
        if answer is None:
            return next(script)
        return script.throw(answer) if isinstance(answer, Unreachable) else script.send(answer)
    except StopIteration as end:
        return _Done(end.value)
