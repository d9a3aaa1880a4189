"""`python -m training.evaluate`: what a run has learnt, measured on images kept apart; a report folder out."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from amcl_serve import __version__
from amcl_serve.evaluation.report.files import write
from amcl_serve.evaluation.report.gates import Gate, judge, parse
from amcl_serve.evaluation.result import Result
from amcl_serve.metrics.label_free import LEAST_IMAGES
from training import data
from training.data import Labelled, Subset
from training.report.runs import Run, open_run, told_apart
from training.report.sections import sections
from training.report.study import Study, measure


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 done, 1 a gate is not reached, 2 wrong usage."""
    args = _parser().parse_args(argv)
    try:
        return _report(args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _report(args: argparse.Namespace) -> int:
    began, started = time.perf_counter(), datetime.now(UTC)

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:5.0f} s] {text}", flush=True)

    paths = [path for path in (args.against, args.checkpoint) if path]
    runs = told_apart([open_run(path, args.device) for path in paths])
    held_out = data.open_held_out(args.data, bank_limit=args.bank_limit)
    labelled = held_out.labelled and limited(held_out.labelled, args.bank_limit, args.query_limit)
    queries = labelled.queries if labelled else held_out.images.spaced(args.query_limit)
    if held_out.note:
        say(f"neither kNN nor probe nor retrieval: {held_out.note}")
    if in_common := max(_in_common(run, args.data, queries) for run in runs):
        say(f"warning: a run has learnt from {in_common} of these {len(queries.indices)} images: figures flatter it")
    study = measure(
        runs, queries, labelled, data=args.data, in_common=in_common, pairs=args.pairs, seed=args.seed, say=say
    )
    say("intervals")
    result = Result(
        protocol="training",
        title=f"{study.judged.run.name} on {args.data}",
        provenance=_provenance(study, args),
        sections=sections(study),
        seconds=time.perf_counter() - began,
        started=started.isoformat(timespec="seconds"),
    )
    verdicts = judge(args.fail_under, result)
    folder = args.out or (args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent) / "report"
    try:
        page = write(result, verdicts, folder)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from None
    for verdict in verdicts:
        print(f"{verdict.gate}: {'passed' if verdict.passed else 'failed'}: {verdict.reason}")
    print(f"done: {page}")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _provenance(study: Study, args: argparse.Namespace) -> dict[str, str | int | float]:
    """What one needs to do it again."""
    found: dict[str, str | int | float] = {
        "model": study.judged.run.name,
        "model checkpoint": str(args.checkpoint),
        "model method": study.judged.run.title,
        "model steps": study.judged.run.step,
        "model through": "PyTorch, float32",
        "device": str(study.judged.run.device),
    }
    if args.against:
        found |= {"against": study.measured[0].run.name, "against checkpoint": str(args.against)}
    names = ("data", "bank_limit", "query_limit", "pairs", "seed")
    found |= {name: getattr(args, name) for name in names}
    found["images learnt from"] = study.in_common
    found |= {"amcl-serve": __version__, "Python": platform.python_version()}
    return found | {package: version(package) for package in ("torch", "numpy", "pillow", "scipy")}


def _gate(text: str) -> Gate:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _in_common(run: Run, spec: str, queries: Subset) -> int:
    """How many of the images that `spec` names the run has learnt from, as far as they are still where they were."""
    kind, learnt = spec.partition(":")[0], run.config.data.spec
    if kind not in ("folder", "tar") or not learnt.startswith(f"{kind}:"):
        return 0
    try:
        return data.shared(data.open_images(learnt), queries)
    except ValueError:
        return 0


def limited(labelled: Labelled, bank: int, queries: int) -> Labelled:
    """At most so many images of each, evenly spaced; ValueError when the bank is then too small to classify by."""
    chosen = Labelled(labelled.bank.spaced(bank), labelled.queries.spaced(queries))
    if np.unique(chosen.bank.labels, return_counts=True)[1].max() < 2:
        raise ValueError(
            f"the bank holds {len(chosen.bank.labels)} images, none of them of one class; a linear probe needs two "
            "of a class: give more images or raise --bank-limit"
        )
    if missing := set(chosen.queries.labels) - set(chosen.bank.labels):
        raise ValueError(
            f"a bank of {bank} images leaves out {len(missing)} of the queries' classes; raise --bank-limit"
        )
    return chosen


def _at_least(low: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {low}")
        return int(text)

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure what a run has learnt and write a report: kNN, linear probe and retrieval where images "
        "are labelled; pairs of views, geometry and calibration where they are not, too.",
        epilog="""the report's folder holds report.html, report.json (every number) and junit.xml (the gates).

example:
  python -m training.evaluate --checkpoint runs/adaptive --against runs/standard --data cifar10:data""",
    )
    parser.add_argument("--checkpoint", metavar="RUN", type=Path, required=True, help="a run folder or its checkpoint")
    parser.add_argument(
        "--data", metavar="SPEC", required=True, help="images kept apart, as for --eval of the training"
    )
    parser.add_argument("--against", metavar="RUN2", type=Path, help="a run to show beside it, such as a baseline")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the report's folder (default: RUN/report)")
    parser.add_argument(
        "--bank-limit", metavar="N", type=_at_least(2), default=50_000, help="training images at most (50000)"
    )
    parser.add_argument(
        "--query-limit",
        metavar="N",
        type=_at_least(LEAST_IMAGES),
        default=10_000,
        help="held-out images at most (10000)",
    )
    parser.add_argument(
        "--pairs",
        metavar="N",
        type=_at_least(LEAST_IMAGES),
        default=500,
        help="positive pairs, and as many negative ones (500)",
    )
    parser.add_argument("--seed", metavar="N", type=_at_least(0), default=0, help="of pairs, views and splits (0)")
    parser.add_argument(
        "--fail-under",
        metavar="NAME=BOUND",
        type=_gate,
        action="append",
        default=[],
        help="exit code 1 unless the worse end of a figure's interval reaches it, such as knn=0.5; several times",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (auto)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
