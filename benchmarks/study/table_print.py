"""The table of `benchmarks.study.table` as Markdown, from its results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.study.table_plan import FORMS, KNN

Line = Mapping[str, Any]
# Figure: title, factor, decimals.
FIGURES = {
    KNN: ("kNN, %", 100, 2),
    "linear_probe": ("probe, %", 100, 2),
    "pair_auroc": ("pair AUROC", 1, 4),
    "head_correlation_positives": ("heads +", 1, 2),
    "head_correlation_negatives": ("heads −", 1, 2),
    "pair_aurc_margin": ("AURC margin, ‰", 1000, 1),
    "pair_aurc_margin_temperature": ("margin/τ, ‰", 1000, 1),
    "tau_positive": ("τ₊", 1, 3),
    "tau_negative": ("τ₋", 1, 3),
}
NOTE = (
    "Means ± standard errors over seeds. Behind the form, its level: the constant temperature, or that at which "
    "adaptive ones are held. heads + and −: correlation between two heads' similarities within positive and negative "
    "pairs. AURC: area under the risk–coverage curve of the pair verdict, the surest by |score − threshold| first, or "
    "by that over the temperature; lower is better. kNN over C = 1: in points over the seeds that both have; behind "
    "the stroke the most that the number of test images, the same for all seeds, adds to its standard error."
)


def render(lines: Sequence[Line]) -> str:
    """A table for each row; runs that are equal but for form and seed share one."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        if not line["search"]:
            groups.setdefault((line["row"], *line["common"]), []).append(line)
    parts = []
    for group in groups.values():
        titles = [title for title, _, _ in FIGURES.values()]
        head = [f"| {group[0]['row']} | seeds | {' | '.join(titles)} | kNN over C = 1 | ms a step |"]
        head.append("| --- " * (len(titles) + 4) + "|")
        parts.append("\n".join([*head, *_rows(group), "", *_footnotes(group)]))
    return "\n\n".join([*parts, NOTE, *_searches(lines)])


def _rows(group: Sequence[Line]) -> Iterable[str]:
    found: dict[tuple[str, tuple[str, ...]], dict[int, Line]] = {}
    for line in group:
        found.setdefault((line["form"], tuple(line["variant"])), {})[line["seed"]] = line  # of several, the latest
    order = list(FORMS)
    one = found.get(("one", ()), {})
    for (form, variant), by_seed in sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        level = _level(next(iter(by_seed.values())))
        name = " ".join([FORMS[form].title + (f" ({level})" if level else ""), *variant])
        cells = [_cell(by_seed.values(), *each) for each in ((key, *how[1:]) for key, how in FIGURES.items())]
        steps = statistics.median(1000 * _seconds_a_step(line) for line in by_seed.values())
        over = "" if form == "one" else difference(by_seed, one, KNN)
        yield f"| {name} | {len(by_seed)} | {' | '.join(cells)} | {over} | {steps:.0f} |"


def _cell(lines: Iterable[Line], figure: str, factor: float, decimals: int) -> str:
    values = [factor * line[figure] for line in lines if line.get(figure) is not None]
    if not values:
        return ""
    text = f"{statistics.mean(values):.{decimals}f}"
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{text} ± {error:.{decimals}f}" if len(values) > 1 else text


def _level(line: Line) -> str:
    words = [word.partition("=")[2] for word in line["own"] if word.startswith("temperature.value=")]
    return words[-1] if words else ""


def _seconds_a_step(line: Line) -> float:
    batch = next(int(word.partition("=")[2]) for word in line["common"] if word.startswith("train.batch_size="))
    return float(batch / line["journal"]["images_per_second"])


def difference(ours: Mapping[int, Line], other: Mapping[int, Line], figure: str) -> str:
    """In points, with the standard error over the seeds that both have, and that which the test images alone leave."""
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


def _footnotes(group: Sequence[Line]) -> Iterable[str]:
    devices, commits = (sorted({str(line[key]) for line in group}) for key in ("device", "commit"))
    yield (
        f"{' '.join([group[0]['recipe'], *group[0]['common']])}; {', '.join(devices)}; "
        f"commit {', '.join(commits)}; {sum(line['seconds'] for line in group) / 60:.0f} minutes of training"
    )


def _searches(lines: Sequence[Line]) -> Iterable[str]:
    """What the search found, so that a reader sees whether a level was an end of what was tried."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line["search"]:
            found.setdefault((line["row"], line["form"]), []).append(f"{_level(line)}: {100 * line[KNN]:.2f}")
    if found:
        listed = "; ".join(f"{row} {form} {', '.join(each)}" for (row, form), each in found.items())
        yield f"The search for levels, kNN in % on held-out training images: {listed}."
