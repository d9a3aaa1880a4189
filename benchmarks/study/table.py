"""The honest table: one head and several, constant and adaptive temperatures, judged apart and together, on CIFAR-10.

    python -m benchmarks.study.table --data CIFAR [--lanes 2] [--minutes 600] [--rows simclr:3,moco] [--forms one,joint]
    python -m benchmarks.study.table --print

CIFAR is a folder with train/ and test/, a folder a class below each. Rows come in the order of their weight;
`table_plan` says what forms there are and how their temperatures are found. The defaults are for a CPU: a run of some
minutes on one core, `--lanes` of them side by side, one thread each. The command ends by itself within its minutes,
with the runs under way checkpointed; the same command goes on with their very next step, and does not repeat what
`--results` holds. Each finished run is one line there: figures at the last epoch, every word in which its
configuration differs from the recipe, device, commit, seconds. `--adaptive KEY=VALUE` tries other settings of the
adaptive forms. Exit code 0 when all is done, 3 when the time was up before, 1 when a run failed.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.study.budget import Budget, Failed, OutOfTime, add_budget, append, pretrain, quality, read
from benchmarks.study.split import make_split
from benchmarks.study.table_plan import FORMS, KNN, ROWS, Job, Row, Size, best, cells, rows, search
from benchmarks.study.table_print import render
from training.machine import cores

OUT_OF_TIME = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, or print what there is."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.print:
        print(render(read(options.results)))
        return 0
    if options.data is None:
        parser.error("--data is missing: CIFAR-10 as a folder with train/ and test/")
    try:
        chosen = rows(options.rows.split(","), options.forms.split(",") if options.forms else [])
        table = Table(options)
        table.check(chosen)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with Budget(options.minutes) as budget:
        for row in chosen:
            if not table.make(row, budget):
                print(f"the time is up, with {table.progress(chosen)}; the same command goes on", flush=True)
                return OUT_OF_TIME
    print(render(read(options.results)))
    return 1 if table.failures else 0


class Table:
    """The runs of the rows, and their results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.size = Size(options.epochs, options.search_epochs, options.batch, options.width, options.stem,
                         extra=tuple(options.words))  # fmt: skip
        self.levels = [float(text) for text in options.temperatures.split(",")]
        self.failures = 0
        self._writing = threading.Lock()

    def check(self, chosen: Sequence[Row]) -> None:
        """ValueError where a run could not begin: better now than after minutes."""
        for row in chosen:
            for level in self.levels:
                for job in cells(row, self.size, dict.fromkeys(FORMS, level), self.options.adaptive):
                    _ = job.config

    def progress(self, chosen: Sequence[Row]) -> str:
        """How many of the rows' runs have their line."""
        lines = read(self.options.results)
        jobs, total = {}, 0
        for row in chosen:
            searched = search(row, self.size, self.levels)
            levels = best(row, self.levels, self.size, lines)
            found = cells(row, self.size, levels, self.options.adaptive) if levels else []
            total += 0 if levels else row.seeds * len(row.forms)
            jobs |= {job.folder: job for job in (*searched, *found)}  # rows may share a search
        done = sum(job.find(lines) is not None for job in jobs.values())
        return f"{done} of {total + len(jobs)} runs done"

    def make(self, row: Row, budget: Budget) -> bool:
        """Whether the row could be finished, failed runs aside, within the budget."""
        jobs = search(row, self.size, self.levels)
        if not self._all(jobs, budget):
            return False
        levels = best(row, self.levels, self.size, read(self.options.results))
        if levels is None:
            print(f"{row.name}: no best temperatures, because a run of the search failed", flush=True)
            return True
        if jobs:
            print(f"{row.name}: best levels by the search: {_named(levels, self.levels)}", flush=True)
        return self._all(cells(row, self.size, levels, self.options.adaptive), budget)

    def _all(self, jobs: Sequence[Job], budget: Budget) -> bool:
        if any(job.search for job in jobs):
            make_split(self.options.data / "train", self._split)
        with ThreadPoolExecutor(self.options.lanes) as pool:
            return all(list(pool.map(partial(self._one, budget), jobs)))

    def _one(self, budget: Budget, job: Job) -> bool:
        """Whether there was time for it."""
        if job.find(read(self.options.results)):
            return True
        run = self.options.runs / job.folder
        images = self._split if job.search else self.options.data
        own_cores = max(1, cores() // self.options.lanes)
        words = [*job.words, f"--data=folder:{images / 'train'}", f"train.device={self.options.device}"]
        words += [f"train.threads={own_cores}", f"data.workers={min(8, own_cores)}"]
        try:
            pretrain(budget, run, words)
            more = ["--knn-only"] if job.search else []
            found = quality(budget, run, f"folder:{images}", f"--device={self.options.device}", *more)
        except OutOfTime:
            return False
        except Failed as error:
            self.failures += 1
            print(f"{job.folder} failed: {error}", flush=True)
            return True
        line: dict[str, Any] = job.line() | found | {"lanes": self.options.lanes, "commit": self.options.commit}
        with self._writing:
            append(self.options.results, line)
        where = "held-out training images" if job.search else "test images"
        print(f"{job.row} {job.form} seed {job.seed} {' '.join(job.own)}: kNN {found[KNN]:.4f} on {where}, "
              f"{found['seconds']:.0f} s", flush=True)  # fmt: skip
        return True

    @property
    def _split(self) -> Path:
        return Path(self.options.runs).absolute() / "split"


def _named(levels: dict[str, float], tried: Sequence[float]) -> str:
    ends = (min(tried), max(tried))
    return ", ".join(
        f"{family} {level:g}{' (an end of what was tried)' if level in ends else ''}"
        for family, level in levels.items()
    )


def _parser() -> argparse.ArgumentParser:
    size = Size()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study.table", description="One head and several, constant and adaptive."
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="for every run")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a folder with train/ and test/")
    parser.add_argument("--print", action="store_true", help="the table of what there is, as Markdown; trains nothing")
    parser.add_argument("--rows", default=",".join(f"{row.name}:{row.seeds}" for row in ROWS), help="NAME[:SEEDS],…")
    parser.add_argument("--forms", default="", help=f"of every row, in place of its own: {', '.join(FORMS)}")
    parser.add_argument("--epochs", type=int, default=size.epochs)
    parser.add_argument("--batch", type=int, default=size.batch)
    parser.add_argument("--width", type=int, default=size.width, help="of the ResNet-18's first stage")
    parser.add_argument("--stem", default=size.stem, help="of the ResNet-18")
    parser.add_argument("--temperatures", default="0.05,0.1,0.2", help="levels to try, of one head; one: no search")
    parser.add_argument("--search-epochs", type=int, default=size.search_epochs)
    parser.add_argument("--adaptive", action="append", default=[], metavar="KEY=VALUE", help="for adaptive cells alone")
    parser.add_argument("--lanes", type=int, default=1, help="runs side by side")
    add_budget(parser, "table.jsonl")
    parser.set_defaults(device="cpu", minutes=600.0, runs=Path("runs/table"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
