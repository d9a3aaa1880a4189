"""What the commands share that talk to a running server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from amcl_serve.client import DEFAULT_URL, Client, Limits, Retry

PATIENCE = Retry(attempts=1000, deadline=300.0)  # of a busy server; nobody waits for a single image


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add --url and --collection."""
    parser.add_argument("--collection", required=True, metavar="NAME", help="the collection")
    parser.add_argument(
        "--url",
        default=DEFAULT_URL,
        metavar="URL",
        help="the running server (default: %(default)s); its key, if it asks for one, is taken from AMCL_API_KEY",
    )


@contextmanager
def connection(args: argparse.Namespace, *, max_items: int = 1) -> Iterator[Client]:
    """A client of the server that the flags name, which sends up to `max_items` items a request."""
    key = os.environ.get("AMCL_API_KEY") or None
    with Client(args.url, api_key=key, retry=PATIENCE, limits=Limits(max_items=max_items)) as client:
        yield client
