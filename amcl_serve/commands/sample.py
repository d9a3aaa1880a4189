"""`amcl-serve sample`: a few images of a collection that stand for all."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import orjson

from amcl_serve.commands.bulk.share import Share
from amcl_serve.commands.client import PATH, add_analysis, connection, line

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `sample`."""
    parser = subparsers.add_parser(
        "sample",
        help="choose a diverse subset of a collection of a running server",
        description="Print points that stand for all, each the one farthest from those before it (greedy k-centre), "
        "with its distance, 1 - cosine to the nearest of them.",
    )
    add_analysis(parser)
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="points to choose (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Choose and print."""
    share = Share()
    with connection(args) as client:
        found = client.sample(args.collection, limit=args.limit, with_payload=PATH, progress=share)
    share.end(f"{len(found['points'])} points; every other is within {found['radius']:.4f} of one of them")
    if args.json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif found["points"]:
        print("\n".join(map(line, found["points"])))
    return 0
