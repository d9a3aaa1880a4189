"""`amcl-serve duplicates`: the near duplicates in a collection, or the points that two collections share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import orjson

from amcl_serve.commands.bulk.share import Share
from amcl_serve.commands.client import PATH, add_analysis, connection, line

if TYPE_CHECKING:
    from amcl_serve.client import Client

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `duplicates`."""
    parser = subparsers.add_parser(
        "duplicates",
        help="find near duplicates in a collection of a running server",
        description="Print groups of points that are near duplicates of each other, the largest first, each point with "
        "the highest cosine to another of its group. With --against: points that are near to points of another "
        "collection, as between training and test images.",
    )
    add_analysis(parser)
    cut = parser.add_mutually_exclusive_group(required=True)
    cut.add_argument("--cosine", type=float, metavar="C", help="pairs with at least this cosine, such as 0.95")
    cut.add_argument(
        "--probability",
        type=float,
        metavar="P",
        help="pairs that show the same with at least this probability, by the calibration of the collection's model",
    )
    cut.add_argument("--exact", action="store_true", help="files with the same content, by the hash that `index` keeps")
    parser.add_argument("--against", metavar="OTHER", help="a second collection")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    cut = {"cosine": args.cosine, "probability": args.probability, "hash": "sha256" if args.exact else None}
    with connection(args) as client:
        return _leaks(args, client, cut) if args.against is not None else _groups(args, client, cut)


def _groups(args: argparse.Namespace, client: Client, cut: dict[str, Any]) -> int:
    share = Share()
    found = client.duplicates(args.collection, **cut, with_payload=PATH, progress=share)
    groups = found["groups"]
    share.end(f"{len(groups)} groups; {found['duplicates']} of {found['points']} points repeat another")
    if args.json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif groups:
        print("\n\n".join("\n".join(map(line, group)) for group in groups))
    return 0


def _leaks(args: argparse.Namespace, client: Client, cut: dict[str, Any]) -> int:
    share = Share()
    found = client.leaks(args.collection, args.against, **cut, with_payload=PATH, progress=share)
    share.end(f"{len(found['leaks'])} of {found['points']} points are among the {found['against']} of {args.against}")
    if args.json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif found["leaks"]:
        blocks = [[line(leak), *map(line, leak["matches"])] for leak in found["leaks"]]
        print("\n\n".join("\n".join(block) for block in blocks))
    return 0
