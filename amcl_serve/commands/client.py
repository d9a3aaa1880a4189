"""Talking to a running server's /collections: what `index` and `search` share."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from amcl_serve.errors import StartupError, Unauthorized
from amcl_serve.keys import parse_keys, read_key_file

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 120.0  # seconds without a byte
PATIENCE = 300.0  # seconds of "busy" answers until the command gives up
BUSY = (429, 503, 504)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add --url, --collection and --api-key-file."""
    parser.add_argument("--collection", required=True, metavar="NAME", help="the collection")
    parser.add_argument("--url", default=DEFAULT_URL, metavar="URL", help="the running server (default: %(default)s)")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="PATH",
        help="file whose first line is the server's key (default: AMCL_API_KEY, then AMCL_API_KEY_FILE)",
    )


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or break a line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def key_for(args: argparse.Namespace) -> str | None:
    """The key to send, from --api-key-file, else the environment; a command line would show it to other users.

    StartupError where a file cannot be read or holds none.
    """
    if args.api_key_file is not None:
        return read_key_file(args.api_key_file)[0]
    if "AMCL_API_KEY" in os.environ:
        return parse_keys(os.environ["AMCL_API_KEY"], "AMCL_API_KEY")[0]
    if "AMCL_API_KEY_FILE" in os.environ:
        return read_key_file(Path(os.environ["AMCL_API_KEY_FILE"]))[0]
    return None


class Refused(Exception):
    """The server answered with an error: its status, its stable `code`, the sentence that says what was wrong."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class Client:
    """One connection to a server, which sends `key` if there is one; StartupError where none answers at `url`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._url = url
        try:
            # A proxy from the environment cannot reach this machine's own addresses.
            local = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            self._http = httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=not local, headers=headers)
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
        if code == Unauthorized.code:
            detail = f"{self._url} asks for a key, or for another one: set AMCL_API_KEY or --api-key-file"
        raise Refused(response.status_code, code, detail)


def _seconds(retry_after: str | None) -> float:
    """What Retry-After asks for, within a minute; a second without it or where it is a date."""
    return min(float(retry_after), 60.0) if retry_after is not None and retry_after.isdecimal() else 1.0
