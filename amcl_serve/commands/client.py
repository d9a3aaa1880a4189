"""What the commands share that talk to a running server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amcl_serve.client import DEFAULT_URL, Client, Limits, Retry
from amcl_serve.commands.bulk.progress import printable
from amcl_serve.errors import Unauthorized
from amcl_serve.http.guards.keys import parse_keys, read_key_file

PATIENCE = Retry(attempts=1000, deadline=300.0)  # of a busy server; nobody waits for a single image

PATH = ["path"]  # what is printed of payloads


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add --collection, and the flags of `add_server`."""
    parser.add_argument("--collection", required=True, metavar="NAME", help="the collection")
    add_server(parser)


def add_analysis(parser: argparse.ArgumentParser) -> None:
    """Add the collection to look through, how to print what is found, and the server as `add_connection`."""
    parser.add_argument("collection", metavar="COLLECTION", help="the collection")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    add_server(parser)


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add --url and --api-key-file."""
    parser.add_argument("--url", default=DEFAULT_URL, metavar="URL", help="the running server (default: %(default)s)")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="PATH",
        help="file whose first line is the server's key (default: AMCL_API_KEY, then AMCL_API_KEY_FILE)",
    )


@contextmanager
def connection(args: argparse.Namespace, *, max_items: int = 1) -> Iterator[Client]:
    """A client of the server that the flags name, which sends up to `max_items` items a request."""
    try:
        with Client(args.url, api_key=_key(args), retry=PATIENCE, limits=Limits(max_items=max_items)) as client:
            yield client
    except Unauthorized:
        raise Unauthorized(
            f"{args.url} asks for a key, or for another one: set AMCL_API_KEY or --api-key-file"
        ) from None


def line(point: Mapping[str, Any]) -> str:
    """A point's score or distance, if it has one, and its payload's path or else its id."""
    value = point.get("score", point.get("distance"))
    number = " " * 8 if value is None else f"{value:8.4f}"
    return f"{number}  {printable(str(point['payload'].get('path', point['id'])))}"


def _key(args: argparse.Namespace) -> str | None:
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
