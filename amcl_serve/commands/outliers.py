"""`amcl-serve outliers`: the images of a collection that are least like all others."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import orjson

from amcl_serve.commands.bulk.share import Share
from amcl_serve.commands.client import PATH, add_analysis, connection, line

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `outliers`."""
    parser = subparsers.add_parser(
        "outliers",
        help="find the images of a collection of a running server that are least like all others",
        description="Print the points with the lowest mean cosine to their nearest neighbours, lowest first.",
    )
    add_analysis(parser)
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="points to print (default: %(default)s)")
    parser.add_argument(
        "--neighbours", type=int, default=10, metavar="K", help="nearest neighbours to take (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    share = Share()
    with connection(args) as client:
        found = client.outliers(
            args.collection, limit=args.limit, neighbours=args.neighbours, with_payload=PATH, progress=share
        )
    share.end(f"{len(found)} outliers")
    if args.json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif found:
        print("\n".join(map(line, found)))
    return 0
