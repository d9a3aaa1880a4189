"""Talking to a running server's /collections: what `index` and `search` share."""

from __future__ import annotations

import argparse
import time
from types import TracebackType
from typing import Any, Self

import httpx

from amcl_serve.commands.progress import printable
from amcl_serve.errors import StartupError

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 120.0  # seconds without a byte
PATIENCE = 300.0  # seconds of "busy" answers until the command gives up
BUSY = (429, 503, 504)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add --url and --collection."""
    parser.add_argument("--collection", required=True, metavar="NAME", help="the collection")
    parser.add_argument("--url", default=DEFAULT_URL, metavar="URL", help="the running server (default: %(default)s)")


class Refused(Exception):
    """The server answered with an error: its status, its stable `code`, the sentence that says what was wrong."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class Client:
    """One connection to a server; StartupError where none answers at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            # A proxy from the environment cannot reach this machine's own addresses.
            local = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
            self._http = httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=not local)
        except httpx.InvalidURL:
            raise StartupError(f"{printable(url)!r} is no URL; one looks like {DEFAULT_URL}") from None

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._http.close()

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The `result` of an answer; waits as long as the server says where it is busy, and raises Refused."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                raise StartupError(
                    f"no server answers at {self._url} ({type(error).__name__}); start one with `amcl-serve serve`, "
                    "or name another with --url"
                ) from None
            if response.status_code not in BUSY or time.monotonic() > until:
                return self._result(response)
            time.sleep(_seconds(response.headers.get("retry-after")))

    def _result(self, response: httpx.Response) -> Any:
        try:
            body = response.json()
            if response.is_success:
                return body["result"]
            code, detail = str(body["code"]), str(body["detail"])
        except (ValueError, KeyError, TypeError):
            raise StartupError(f"{self._url} answers, but not as amcl-serve does; is it another server's?") from None
        raise Refused(response.status_code, code, detail)


def _seconds(retry_after: str | None) -> float:
    """What Retry-After asks for, within a minute; a second without it or where it is a date."""
    return min(float(retry_after), 60.0) if retry_after is not None and retry_after.isdecimal() else 1.0
