"""Sends calls, again where that may help, and closes the connections at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

import amcl_serve
from amcl_serve.client.calls import Call, Limits, checked
from amcl_serve.client.images import Image, to_bytes
from amcl_serve.client.retry import Retry, Tries
from amcl_serve.client.waiting import call, sleep
from amcl_serve.errors import Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 60.0  # seconds without a byte


class Sender:
    """What all methods have in common: one server, one pool of connections, one patience."""

    _sleep = staticmethod(sleep)

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
        self._http = httpx.Client(base_url=base, headers=headers, trust_env=not local, transport=transport)

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

    def _send(self, call: Call) -> httpx.Response:
        """The answer to a call, whatever its status; Unreachable where there is none."""
        tries = Tries(self.retry, call)
        outcome: httpx.Response | httpx.TransportError
        arguments: dict[str, Any] = call.arguments()
        while True:
            try:
                outcome = self._http.request(**arguments, timeout=tries.timeout(self.timeout))
            except httpx.TransportError as error:
                outcome = error
            pause = tries.pause(outcome)
            if pause is not None:
                self._sleep(pause)
            elif isinstance(outcome, httpx.Response):
                return outcome
            else:
                raise self._unreachable(outcome)

    @contextmanager
    def _opened(self, call: Call) -> Iterator[httpx.Response]:
        """The answer to a call while it comes, which is a success; raises as `checked`, and Unreachable as `_send`."""
        tries = Tries(self.retry, call)
        request = self._http.build_request(**call.arguments(), timeout=self.timeout)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(request, stream=True)
            except httpx.TransportError as error:
                outcome = error
            pause = tries.pause(outcome)
            if pause is None:
                break
            if isinstance(outcome, httpx.Response):
                outcome.close()
            self._sleep(pause)
        if isinstance(outcome, httpx.TransportError):
            raise self._unreachable(outcome)
        try:
            if not outcome.is_success:
                outcome.read()
            yield checked(outcome)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        finally:
            outcome.close()

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"no server answers at {self.url} ({type(error).__name__}); "
            "start one with `amcl-serve serve`, or give another URL"
        )

    def _content(self, image: Image) -> bytes:
        """The bytes of an image file."""
        return image if isinstance(image, bytes) else call(to_bytes, image)
