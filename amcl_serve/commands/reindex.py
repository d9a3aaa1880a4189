"""`amcl-serve reindex`: the images of a collection embedded anew by another model, without a gap.

    the alias ─▶ old collection        searches go here, while the shadow is filled beside it
                 shadow, of the model  and here once the alias stands for it, which is one step

ALIAS.previous is an alias too, of the collection that was replaced: what `--back` and `--drop-old` go by.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amcl_serve.client import Client
from amcl_serve.commands.bulk.progress import BROKEN, Progress
from amcl_serve.commands.bulk.sending import MAX_BATCH
from amcl_serve.commands.client import add_server, connection
from amcl_serve.commands.reindexing import drift
from amcl_serve.commands.reindexing.images import Images
from amcl_serve.commands.reindexing.shadow import EMBEDDED, PRESENT, Shadow
from amcl_serve.errors import AmclError, CollectionNotFound, ModelNotFound, StartupError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

AGAIN = "run the same command again to go on from here"
_LOOKS = 5  # over all points, until one finds nothing that has changed; the rest is caught up with after the swap
_BATCH = 32  # images a request
_LISTED = 1000  # missing points in the report
_LONGEST = 128  # characters of a name


def add_parser(subparsers: Subparsers) -> None:
    """Add `reindex`."""
    parser = subparsers.add_parser(
        "reindex",
        help="embed a collection's images anew by another model, and let its alias stand for the result",
        description="Embed the images of the collection that an alias stands for by another loaded model, into a "
        "collection beside it; say how much that changes; and let the alias stand for the new one, in one step. "
        "Searches by the alias go on throughout. After an interruption run the same command again.",
    )
    parser.add_argument("collection", metavar="ALIAS", help="the alias that the collection is searched by")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--model", metavar="NAME", help="the other model; both must be loaded")
    way.add_argument("--back", action="store_true", help="let the alias stand for the collection before again")
    way.add_argument("--drop-old", action="store_true", help="remove the collection that was replaced")
    parser.add_argument("--alias", metavar="NAME", help="make this alias first, where ALIAS is a collection's own name")
    parser.add_argument(
        "--from-thumbnails", action="store_true", help="take the thumbnail where the recorded file is not there"
    )
    parser.add_argument("--skip-missing", action="store_true", help="swap though some points have no image any more")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write how much changes to FILE, as JSON")
    parser.add_argument(
        "--sample", type=_sample, default=200, metavar="N", help="points that are compared (default: %(default)s)"
    )
    add_server(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reindex; 1 where nothing was swapped, 130 if interrupted."""
    with connection(args, max_items=MAX_BATCH) as client:
        if args.back:
            return _back(client, args.collection)
        if args.drop_old:
            return _drop_old(client, args.collection)
        return _reindex(client, args)


def _reindex(client: Client, args: argparse.Namespace) -> int:
    alias, old = _resolved(client, args)
    model = next((each for each in client.models() if each["name"] == args.model), None)
    if model is None:
        raise ModelNotFound(
            f"no model {args.model!r} is loaded; the server has {', '.join(each['name'] for each in client.models())}: "
            "start it with both models (--model, repeated)"
        )
    detail = client.collection(old)
    _check_models(client, alias, old, detail, dict(model))
    new = _own_name(alias, model["digest"].rpartition(":")[2][:12])
    _prepare(client, new, detail, dict(model))
    if args.alias is not None:
        client.set_aliases({alias: old})
    images = Images(client, old, thumbnails=args.from_thumbnails)
    shadow = Shadow(client, old, new, args.model, images, batch=_BATCH)
    progress = Progress(detail["points_count"], (EMBEDDED, PRESENT, BROKEN))
    try:
        shadow.follow(progress)
        progress.end(f"{new}: {progress.summary()}")
        changes = drift.measure(client, old, new, shadow.ids, args.sample)
        print(drift.text(changes), flush=True)
        if args.report is not None:
            _write(args.report, {
                "alias": alias,
                "old": {"collection": old, "model": detail["model"]["name"], "digest": detail["model"]["digest"]},
                "new": {"collection": new, "model": model["name"], "digest": model["digest"]},
                "points": len(shadow.ids),
                "from_thumbnails": images.from_thumbnails,
                "missing": len(shadow.missing),
                "missing_points": _listed(shadow),
                "drift": changes,
            })  # fmt: skip
        _settle(shadow)
        if shadow.missing and not args.skip_missing:
            others = "" if args.from_thumbnails else "--from-thumbnails, or "
            return _stopped(
                f"{len(shadow.missing)} points have no image any more, so {alias} stands for {old} as before: bring "
                f"the files back, or give {others}--skip-missing to go on without them, and {AGAIN}"
            )
        client.set_aliases({alias: new, _previous(alias): old})
    except KeyboardInterrupt:
        progress.end(f"interrupted: {progress.summary()}; {AGAIN}")
        return 130
    except StartupError:
        raise
    except AmclError as error:
        progress.end()
        raise StartupError(f"{error.detail} ({progress.summary()}; {AGAIN})") from None
    shadow.catch_up(_quiet)
    print(
        f"{alias} stands for {new} ({model['name']}) now. `amcl-serve reindex {alias} --back` lets it stand for {old} "
        f"again, `amcl-serve reindex {alias} --drop-old` removes that."
    )
    return 0


def _stopped(sentence: str) -> int:
    print(f"amcl-serve: error: {sentence}", file=sys.stderr)
    return 1


def _back(client: Client, alias: str) -> int:
    now, before = _swapped(client, alias)
    client.set_aliases({alias: before, _previous(alias): now})
    print(f"{alias} stands for {before} again; what was written since is in {now} alone, and --back goes there again.")
    return 0


def _drop_old(client: Client, alias: str) -> int:
    _, before = _swapped(client, alias)
    client.delete_collection(before)  # and with it its aliases
    print(f"removed {before}")
    return 0


def _swapped(client: Client, alias: str) -> tuple[str, str]:
    """What the alias stands for, and what it stood for before."""
    aliases = client.aliases()
    if alias not in aliases or _previous(alias) not in aliases:
        raise StartupError(
            f"{alias} is no alias whose collection `amcl-serve reindex {alias} --model NAME` has replaced"
        )
    return aliases[alias], aliases[_previous(alias)]


def _resolved(client: Client, args: argparse.Namespace) -> tuple[str, str]:
    """The alias, and the collection that it stands for, or will."""
    aliases, name, wanted = client.aliases(), args.collection, args.alias
    if name in aliases:
        if wanted not in (None, name):
            raise StartupError(f"{name} is an alias itself, of {aliases[name]}: leave --alias out")
        args.alias = None
        return name, aliases[name]
    if name not in client.collections():
        raise CollectionNotFound(f"no alias or collection {name!r}")
    if wanted is None:
        raise StartupError(
            f"{name} is the collection's own name, which no other collection can come to stand for. Search it by an "
            f"alias: `amcl-serve reindex {name} --alias {name}-current --model {args.model}` makes that alias first"
        )
    if wanted in client.collections():
        raise StartupError(f"--alias {wanted}: a collection has this name")
    if aliases.get(wanted, name) != name:
        raise StartupError(
            f"--alias {wanted}: it stands for {aliases[wanted]}, not for {name}; to reindex what it stands for, "
            f"`amcl-serve reindex {wanted} --model {args.model}`"
        )
    return wanted, name


def _check_models(client: Client, alias: str, old: str, detail: dict[str, Any], model: dict[str, Any]) -> None:
    recorded = detail["model"]
    if recorded is None:
        raise StartupError(f"collection {old} holds no image that a model embedded: there is nothing to embed anew")
    if recorded["digest"] == model["digest"]:
        raise StartupError(f"{alias} stands for {old}, whose images are embedded by {model['name']} already")
    if recorded["digest"] not in {each["digest"] for each in client.models()}:
        raise ModelNotFound(
            f"{recorded['name']} ({recorded['digest']}), which embedded the images of {old}, is not loaded: until the "
            "swap no search by an image could be answered; start the server with both models (--model, repeated)"
        )


def _prepare(client: Client, new: str, detail: dict[str, Any], model: dict[str, Any]) -> None:
    """Make the shadow like the collection, or take the one that a run made before."""
    kept = detail.get("heads", False)
    heads = kept and model["heads"] > 0
    if kept and not heads:
        print(f"{model['name']} has no heads: {new} keeps none, and cannot be reranked", file=sys.stderr)
    try:
        found = client.collection(new)
    except CollectionNotFound:
        index = detail.get("index", {})
        client.create_collection(
            new,
            distance=detail["config"]["params"]["vectors"]["distance"],
            model=model["name"],
            kind=index.get("kind", "auto"),
            precision=index.get("precision", "float32"),
            thumbnails=detail.get("thumbnails", False),
            heads=heads,
        )
        found = client.collection(new)
    same = found["config"]["params"]["vectors"]["size"] == model["dim"]
    if not same or found["model"] not in (None, {"name": model["name"], "digest": model["digest"]}):
        raise StartupError(f"there is a collection {new} already, and it is not of {model['name']}: remove it")
    for field, index in detail["payload_schema"].items():
        if field not in found["payload_schema"]:
            client.index_field(new, field, index["data_type"])


def _settle(shadow: Shadow) -> None:
    """Follow what changes meanwhile, as far as it comes to an end."""
    for _ in range(_LOOKS):
        if not shadow.follow(_quiet):
            return


def _quiet(path: str, outcome: str, reason: str = "") -> None:
    if outcome == BROKEN:
        print(f"skipped {path}: {reason}", file=sys.stderr)


def _listed(shadow: Shadow) -> list[dict[str, Any]]:
    """Why points are missing, of the first of them."""
    return [
        {"id": each, "path": why.name, "reason": why.reason} for each, why in islice(shadow.missing.items(), _LISTED)
    ]


def _write(file: Path, report: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}") from None


def _previous(alias: str) -> str:
    return _own_name(alias, "previous")


def _own_name(alias: str, ending: str) -> str:
    name = f"{alias}.{ending}"
    if len(name) > _LONGEST:
        raise StartupError(f"the alias {alias} is too long: {name} has more than {_LONGEST} characters")
    return name


def _sample(text: str) -> int:
    number = int(text)
    if not 2 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"2 to 1000, not {number}")
    return number
