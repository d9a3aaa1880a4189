"""The table of `benchmarks.table` as Markdown, from its results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.table_plan import KNN, SEARCH

Line = Mapping[str, Any]
FIGURES = {KNN: "kNN (k = 20)", "linear_probe": "linear probe"}


def render(lines: Sequence[Line]) -> str:
    """A table for each figure; the runs of a row that are equal but for heads, temperature and seed are one line."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        if line["cell"] != SEARCH:
            groups.setdefault((line["row"], *line["common"]), []).append(line)
    parts = []
    for figure, title in FIGURES.items():
        rows = [row for group in groups.values() for row in _rows(group, figure)]
        parts.append("\n".join([
            f"| {title}, % | seeds | (a) C = 1 | (b) C = 3 | (c) adaptive, C = 3 | (d) adaptive, C = 1 "
            "| (c) − (a) | (c) − (b) |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ]))  # fmt: skip
    parts.append(
        "In brackets the constant temperature, or the level of adaptive ones. A difference is the mean over seeds that "
        "both cells have; ± is its standard error, over seeds where there are several; behind the stroke the standard "
        "error that the number of test images alone leaves to a difference of two independent accuracies."
    )
    parts.append("\n".join(_footnotes(groups.values())))
    return "\n\n".join(parts)


def _rows(group: Sequence[Line], figure: str) -> Iterable[str]:
    variants = list(dict.fromkeys(tuple(line["variant"]) for line in group if line["cell"] in "cd")) or [()]
    for variant in variants:
        found: dict[str, dict[int, Line]] = {cell: {} for cell in "abcd"}
        for line in group:
            if line["cell"] in "ab" or tuple(line["variant"]) == variant:
                found[line["cell"]][line["seed"]] = line  # of several, the latest
        name = " ".join([group[0]["row"], *variant])
        seeds = max(len(each) for each in found.values())
        cells = [_cell(each, figure) for each in found.values()]
        over = [difference(found["c"], found[other], figure) for other in "ab"]
        yield f"| {name} | {seeds} | {' | '.join(cells)} | {' | '.join(over)} |"


def _cell(by_seed: Mapping[int, Line], figure: str) -> str:
    if not by_seed:
        return ""
    mean = statistics.mean(line[figure] for line in by_seed.values())
    return f"{100 * mean:.2f} ({', '.join(dict.fromkeys(_level(line) for line in by_seed.values()))})"


def _level(line: Line) -> str:
    return next(word.partition("=")[2] for word in reversed(line["own"]) if word.startswith("temperature.value="))


def difference(ours: Mapping[int, Line], other: Mapping[int, Line], figure: str) -> str:
    """In points, with its standard errors."""
    seeds = sorted(ours.keys() & other.keys())
    if not seeds:
        return ""
    found = [100 * (ours[seed][figure] - other[seed][figure]) for seed in seeds]
    over_seeds = f" ± {statistics.stdev(found) / math.sqrt(len(found)):.2f}" if len(found) > 1 else ""
    variance = sum(
        statistics.mean(line[seed][figure] * (1 - line[seed][figure]) / line[seed]["queries"] for seed in seeds)
        for line in (ours, other)
    )
    return f"{statistics.mean(found):+.2f}{over_seeds} / {100 * math.sqrt(variance):.2f}"


def _footnotes(groups: Iterable[Sequence[Line]]) -> Iterable[str]:
    for group in groups:
        devices, commits = (sorted({str(line[key]) for line in group}) for key in ("device", "commit"))
        yield (
            f"- {group[0]['row']}: {' '.join([group[0]['recipe'], *group[0]['common']])}; {', '.join(devices)}; "
            f"commit {', '.join(commits)}; {sum(line['seconds'] for line in group) / 60:.0f} minutes of training"
        )
