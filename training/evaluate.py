"""`python -m training.evaluate`: what a run has learnt, measured on labelled images; a report folder out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from training import data
from training.data import Labelled, Subset
from training.report import pages
from training.report.runs import open_run, told_apart
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
    labelled = limited(data.open_labelled(args.data, bank_limit=args.bank_limit), args.bank_limit, args.query_limit)
    folder = args.out or (args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent) / "report"
    study = measure(runs, labelled, data=args.data, pairs=args.pairs, seed=args.seed, say=say)
    say("figures")
    write(study, folder)
    return Path(folder)


def limited(labelled: Labelled, bank: int, queries: int) -> Labelled:
    """At most so many images of each, evenly spaced; ValueError when the bank is then too small to classify by."""
    chosen = Labelled(_spaced(labelled.bank, bank), _spaced(labelled.queries, queries))
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


def _spaced(subset: Subset, limit: int) -> Subset:
    count = len(subset.indices)
    rows = np.linspace(0, count - 1, min(limit, count)).round().astype(np.int64)
    return Subset(subset.images, subset.indices[rows])


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
        description="Measure what a run has learnt and write a report: kNN, linear probe, retrieval, geometry, pairs.",
        epilog="""the report's folder holds index.html (everything on one page), report.md, report.json and the figures.

example:
  python -m training.evaluate --checkpoint runs/adaptive --against runs/standard --data cifar10:data""",
    )
    parser.add_argument("--checkpoint", metavar="RUN", type=Path, required=True, help="a run folder or its checkpoint")
    parser.add_argument("--data", metavar="SPEC", required=True, help="labelled images, as for --eval of the training")
    parser.add_argument("--against", metavar="RUN2", type=Path, help="a run to show beside it, such as a baseline")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the report's folder (default: RUN/report)")
    parser.add_argument(
        "--bank-limit", metavar="N", type=_at_least(2), default=50_000, help="training images at most (50000)"
    )
    parser.add_argument(
        "--query-limit", metavar="N", type=_at_least(2), default=10_000, help="held-out images at most (10000)"
    )
    parser.add_argument(
        "--pairs", metavar="N", type=_at_least(2), default=500, help="positive pairs, and as many negative ones (500)"
    )
    parser.add_argument("--seed", metavar="N", type=_at_least(0), default=0, help="of pairs, views and splits (0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (auto)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
