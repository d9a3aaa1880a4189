"""`amcl-serve evaluate`: how good a model's embeddings are on somebody's images, as a report."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from amcl_serve.client import DEFAULT_URL
from amcl_serve.commands.bulk.interrupts import held_back
from amcl_serve.commands.client import add_server, connection
from amcl_serve.commands.options import MODEL, add_settings, settings_from
from amcl_serve.errors import BundleError, StartupError
from amcl_serve.evaluation.report.gates import Gate, parse

if TYPE_CHECKING:
    from amcl_serve.client import Client
    from amcl_serve.commands.evaluating.stages import Stages
    from amcl_serve.evaluation.dataset import Dataset
    from amcl_serve.evaluation.embedder import Embedder
    from amcl_serve.evaluation.result import Result
    from amcl_serve.model.bundle import Bundle
    from amcl_serve.settings import Settings

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

OF_THE_SERVER = tuple(name for name in MODEL if name not in ("model", "model_dir", "max_pixels", "accept_truncated"))


def add_parser(subparsers: Subparsers) -> None:
    """Add `evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on your images, and write the report",
        description="Measure how good a model's embeddings are on a folder, a collection or pairs of images, in this "
        "process or, with --url, as a running server answers. Prints a summary; --out writes report.html, report.json "
        "and junit.xml. The exit code is 1 if a gate is not reached, 2 for wrong usage.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", type=Path, metavar="DIR", help="the images in a folder and its sub-folders")
    source.add_argument("--collection", metavar="NAME", help="the images of a collection of a running server")
    source.add_argument(
        "--pairs", type=Path, metavar="FILE", help="a CSV or JSONL file of pairs: two images, and 1 or 0 for the same"
    )
    parser.add_argument(
        "--labels",
        nargs="?",
        const="",
        metavar="FIELD",
        help="images have labels: with --folder the names of the sub-folders, with --collection this field of the "
        "payloads",
    )
    parser.add_argument("--against", metavar="MODEL", help="a second model to compare with, found as --model is")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for report.html, report.json and junit.xml")
    parser.add_argument("--seed", type=_count, default=0, metavar="N", help="of all that is drawn (default: 0)")
    parser.add_argument(
        "--limit",
        type=_count,
        default=0,
        metavar="N",
        help="look at this many images, evenly spaced (default: all)",
    )
    parser.add_argument(
        "--fail-under",
        type=_gate,
        action="append",
        default=[],
        metavar="NAME=BOUND",
        help="a gate, such as auroc=0.95: the end of the figure's 95 %% interval that is the worse one must reach the "
        "bound; may be repeated",
    )
    add_server(parser)
    parser.set_defaults(run=run, url=None, wrong=parser.error)
    add_settings(parser, MODEL)


def run(args: argparse.Namespace) -> int:
    """Evaluate; 1 if a gate is not reached."""
    _check(args)
    _check_out(args.out)
    settings = settings_from(args)
    from amcl_serve.commands.evaluating.stages import Stages

    with held_back() as check:
        stages = Stages(check)
        try:
            result = _evaluate(args, settings, stages)
        except KeyboardInterrupt:
            stages.end("interrupted; nothing was written")
            raise
        finally:
            stages.end()
    return _told(args, result)


def _check(args: argparse.Namespace) -> None:
    """End with 2 where flags contradict each other."""
    if args.collection is not None and args.url is None:
        args.url = DEFAULT_URL
    if args.pairs is not None and args.labels is not None:
        args.wrong("--labels: a file of pairs has its own")
    if args.folder is not None and args.labels:
        args.wrong("--labels: with --folder the names of the sub-folders are the labels, and it takes no FIELD")
    if args.collection is not None and args.labels == "":
        args.wrong("--labels: with --collection it takes the FIELD of the payloads that is the label")
    if len(getattr(args, "model", ())) > 1:
        args.wrong("--model: one model is evaluated; --against names a second one to compare with")
    if args.url is not None:
        flags = ["--" + name.replace("_", "-") for name in OF_THE_SERVER if hasattr(args, name)]
        if flags:
            args.wrong(f"{', '.join(flags)}: of a model in this process; with --url the server's own settings hold")


def _check_out(folder: Path | None) -> None:
    """Raise StartupError now, not after the work, where the report could not be written."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"{folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"{folder} cannot be written to")


def _evaluate(args: argparse.Namespace, settings: Settings, stages: Stages) -> Result:
    from amcl_serve.commands.evaluating.precisions import TITLE, served_equals_offline
    from amcl_serve.evaluation.protocols.choice import protocol_for
    from amcl_serve.evaluation.result import Section
    from amcl_serve.evaluation.runner import run as evaluate
    from amcl_serve.evaluation.stored import StoredVectors, stored

    with _embedders(args, settings) as (embedder, against, bundle, client):
        dataset = _dataset(args, client, stages)
        protocol = protocol_for(dataset, seed=args.seed, limit=args.limit)
        if (kept := stored(dataset)) is not None:
            if against is not None:
                raise StartupError(f"--against: a second model needs pictures, and {dataset.name} has vectors alone")
            result = evaluate(dataset, StoredVectors(kept), protocol, stages)
            served = Section("served", TITLE, missing="it needs pictures, and vectors alone are stored")
        else:
            result = evaluate(dataset, embedder, protocol, stages, against=against)
            stages("comparing precisions", 0, 1)
            served = served_equals_offline(dataset, embedder, bundle, settings, seed=args.seed)
    command = {"command": shlex.join(["amcl-serve", *args.words])}
    return dataclasses.replace(result, sections=[*result.sections, served], provenance={**result.provenance, **command})


@contextmanager
def _embedders(
    args: argparse.Namespace, settings: Settings
) -> Iterator[tuple[Embedder, Embedder | None, Bundle | None, Client | None]]:
    """What embeds, what it is compared with, the bundle of the first if it is here, and the server's client."""
    if args.url is not None:
        from amcl_serve.commands.evaluating.over_http import TOGETHER, OverHttp

        with connection(args, max_items=2 * TOGETHER) as client:
            first = OverHttp(client, getattr(args, "model", ["default"])[0])
            second = None if args.against is None else OverHttp(client, args.against)
            yield first, second, _bundle(first.about.name, settings), client
        return
    from amcl_serve.commands.evaluating.in_process import InProcess
    from amcl_serve.hosting.opening import load_model

    model = load_model(settings)
    other = None
    if args.against is not None:
        other = InProcess(load_model(settings.model_copy(update={"model": (args.against,)})), settings)
    yield InProcess(model, settings), other, model.bundle, None


def _bundle(name: str, settings: Settings) -> Bundle | None:
    """The bundle of that name on this machine, if there is one."""
    from amcl_serve.hosting.opening import find_bundle
    from amcl_serve.model.bundle import Bundle

    try:
        return Bundle.open(find_bundle(name, settings.model_dir))
    except BundleError:
        return None


def _dataset(args: argparse.Namespace, client: Client | None, stages: Stages) -> Dataset:
    if args.folder is not None:
        from amcl_serve.evaluation.datasets import open_folder

        folder = open_folder(args.folder, labels=args.labels is not None)
        if args.labels is not None and folder.labels is None:
            raise StartupError(
                f"--labels: the images of {args.folder} are not all in sub-folders, two at least, that label them"
            )
        return folder
    if args.pairs is not None:
        from amcl_serve.evaluation.datasets import open_pairs

        return open_pairs(args.pairs)
    from amcl_serve.commands.evaluating.collection import CollectionImages

    assert client is not None
    total = client.count(args.collection)
    found = CollectionImages(client, args.collection, args.labels, lambda done: stages("listing points", done, total))
    if found.left_out:
        stages.end(f"{found.left_out} points have no label at {args.labels!r} and are left out")
    return found


def _told(args: argparse.Namespace, result: Result) -> int:
    """Write and print what was found."""
    from amcl_serve.commands.evaluating.summary import summary
    from amcl_serve.evaluation.report.files import write
    from amcl_serve.evaluation.report.gates import judge

    verdicts = judge(args.fail_under, result)
    print(summary(result, verdicts))
    if args.out is not None:
        try:
            page = write(result, verdicts, args.out)
        except OSError as error:
            raise StartupError(f"{args.out} cannot be written: {error.strerror}") from None
        print(f"report: {page}")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _gate(text: str) -> Gate:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"a whole number, not {text!r}")
    return int(text)
