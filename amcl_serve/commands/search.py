"""`amcl-serve search`: the images of a collection that are nearest to an image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from amcl_serve.commands.bulk.progress import printable
from amcl_serve.commands.client import add_connection, connection
from amcl_serve.errors import StartupError

if TYPE_CHECKING:
    from amcl_serve.client.shapes import Found

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `search`."""
    parser = subparsers.add_parser(
        "search",
        help="find the nearest images in a collection of a running server",
        description="Print score and path of the points of a collection that are nearest to an image, best first.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image to search by")
    add_connection(parser)
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="points to print (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the points as JSON, with id, score and payload")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search and print."""
    try:
        data = args.image.read_bytes()
    except OSError as error:
        raise StartupError(f"{args.image} cannot be read: {error.strerror}") from None
    with connection(args) as client:
        points = client.query(args.collection, image=data, limit=args.limit, with_payload=True)
    if args.json:
        print(orjson.dumps(points, option=orjson.OPT_INDENT_2).decode())
    else:
        print(table(points))
    return 0


def table(points: list[Found]) -> str:
    """A line for each point: its score, and its payload's path or else its id."""
    lines = [f"{'score':>10}  path"]
    lines += [f"{p['score']:>10.4f}  {printable(str(p['payload'].get('path', p['id'])))}" for p in points]
    return "\n".join(lines if points else ["the collection holds no points"])
