"""`python -m training.evaluate`: what a run has learnt, measured on images kept apart; a report folder out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from amcl_serve.metrics.label_free import LEAST_IMAGES
from training import data
from training.data import Labelled, Subset
from training.report import pages
from training.report.runs import Run, open_run, told_apart
from training.report.sections import sections
from training.report.study import Study, measure


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 done, 2 wrong usage."""
    args = _parser().parse_args(argv)
    try:
        folder = _report(args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"done: {folder / 'index.html'}")
    return 0


def _report(args: argparse.Namespace) -> Path:
    began = time.perf_counter()

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
    folder = args.out or (args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent) / "report"
    study = measure(
        runs, queries, labelled, data=args.data, in_common=in_common, pairs=args.pairs, seed=args.seed, say=say
    )
    say("figures")
    write(study, folder)
    return Path(folder)


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


def write(study: Study, folder: Path) -> None:
    """report.json, report.md, index.html and the figures; ValueError when the folder cannot be written to."""
    content = sections(study)
    title = "Evaluation of " + " beside ".join(m.run.name for m in reversed(study.measured))
    files = {figure.file: figure.svg for section in content for figure in section.figures}
    files["report.json"] = json.dumps(study.to_json(), indent=1, ensure_ascii=False) + "\n"
    files["report.md"] = pages.markdown(title, content)
    files["index.html"] = pages.html(title, content)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from None


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
        epilog="""the report's folder holds index.html (everything on one page), report.md, report.json and the figures.

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
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (auto)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
