"""Approximate search against exact search of the same vectors, by the index that a collection of them would have."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols.look import Look, Model, evenly
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part
from amcl_serve.evaluation.result import Table
from amcl_serve.metrics.bootstrap import Independent, mean_of
from amcl_serve.metrics.checks import unit_rows
from amcl_serve.vectors.index.grower import LARGE
from amcl_serve.vectors.index.parts import Parts
from amcl_serve.vectors.types import USUAL_INDEX, IndexChoice

K = 10
RECALL = (1, 5, 10)
_QUERIES = 1000
_PIECE = 1024  # vectors added at a time
_ALIKE = 1e-6  # of cosines: rounding

Numbers = npt.NDArray[np.int64]


def approximate(look: Look, model: Model, labels: npt.NDArray[Any] | None, progress: Progress) -> Part:
    """What a search by the index loses, of up to 1000 images that ask all others; where images are held out, those ask.

    `labels` [M] say which images are relevant, where there are any. The index is that of the collection that the
    dataset is of, its `index`; else that of a collection by default.
    """
    choice: IndexChoice = getattr(look.dataset, "index", USUAL_INDEX)
    part = Part("approximate", "Approximate against exact search")
    count = len(look)
    if choice.kind == "exact" or count < LARGE:
        part.missing = (
            "the collection is searched exactly, because it was made so"
            if choice.kind == "exact"
            else f"{count:,} images are searched exactly: a collection has an approximate index from {LARGE:,} on"
        )
        return part
    asking = look.held_out[evenly(len(look.held_out), _QUERIES)]
    bank = np.setdiff1d(np.arange(count), asking)
    unit = unit_rows(model.features)
    progress("building an index", 0, len(bank))
    begun = perf_counter()
    index = _index(unit[bank], choice, progress)
    built = perf_counter() - begun
    exact, approximate_ = (
        _searched(index, unit, bank, asking, exact=each, progress=progress) for each in (True, False)
    )
    kind = "inverted lists" if choice.kind == "ivf" else "HNSW graph"
    said = f"{kind} of {len(bank):,} vectors, {choice.precision}, as the server makes it; {len(asking)} images ask it"
    # By cosine, not by number: of equal ones either is right.
    hits = approximate_.cosine >= exact.cosine[:, -1:] - _ALIKE
    part.items.append(
        _mean(
            "approximate_overlap",
            "Found of the ten nearest",
            f"share of the exact ten that are found; {said}",
            hits.mean(1),
        )
    )
    rows: list[list[str | float | int | None]] = []
    if labels is not None:
        wanted = labels[asking][:, None]
        relevant = [labels[bank[each.index]] == wanted for each in (exact, approximate_)]
        for k in RECALL:
            both = [found[:, :k].any(axis=1).astype(np.float64) for found in relevant]
            rows.append(_row(f"recall at {k}", *both))
            title = f"Recall at {k}, approximate less exact"
            part.items.append(_mean(f"approximate_recall_at_{k}_difference", title, said, both[1] - both[0]))
        both = [_average_precision(found) for found in relevant]
        rows.append(_row(f"mAP of the first {K}", *both))
        title = f"mAP of the first {K}, approximate less exact"
        part.items.append(
            _mean("approximate_map_difference", title, f"over the first {K} alone; {said}", both[1] - both[0])
        )
    rows.append(
        [
            "milliseconds a search, median",
            exact.milliseconds,
            approximate_.milliseconds,
            approximate_.milliseconds - exact.milliseconds,
        ]
    )
    part.tables.append(Table("Exact and approximate", ("", "exact", "approximate", "difference"), rows))
    part.notes.append(f"The index took {built:.1f} s to build, with one thread.")
    return part


@dataclass(frozen=True)
class _Answers:
    """The K nearest of each of Q queries: places in the bank [Q, K], their cosines [Q, K]; what a search took."""

    index: Numbers
    cosine: npt.NDArray[np.float32]
    milliseconds: float


def _index(bank: npt.NDArray[np.float32], choice: IndexChoice, progress: Progress) -> Parts:
    def fetch(rows: Numbers) -> tuple[Numbers, npt.NDArray[np.float32]]:
        return rows, bank[rows]

    parts = Parts(bank.shape[1], "Cosine", choice=choice)
    parts.add(np.arange(len(bank)), bank)
    graph = parts.new_graph(fetch)
    for start in range(0, len(bank), _PIECE):
        progress("building an index", start, len(bank))
        rows = np.arange(start, min(start + _PIECE, len(bank)))
        graph.add(rows, bank[rows])
    parts.use(graph)
    progress("building an index", len(bank), len(bank))
    return parts


def _searched(
    parts: Parts, unit: npt.NDArray[np.float32], bank: Numbers, asking: Numbers, *, exact: bool, progress: Progress
) -> _Answers:
    stage = "searching exactly" if exact else "searching approximately"
    index, cosine = np.empty((len(asking), K), np.int64), np.empty((len(asking), K), np.float32)
    seconds = []
    for row, place in enumerate(asking):
        if not row % 100:
            progress(stage, row, len(asking))
        begun = perf_counter()
        found = parts.search(unit[place], K, exact=exact, fetch=lambda rows: (rows, unit[bank[rows]]))
        seconds.append(perf_counter() - begun)
        order = np.lexsort((found.rows, -found.scores))[:K]
        index[row], cosine[row] = found.rows[order], found.scores[order]
    progress(stage, len(asking), len(asking))
    return _Answers(index, cosine, float(np.median(seconds)) * 1000)


def _average_precision(relevant: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Of each query [Q], from whether its K first are relevant [Q, K]; 0 where none is."""
    rank = np.arange(1, relevant.shape[1] + 1)
    precision = np.cumsum(relevant, axis=1) / rank
    values: npt.NDArray[np.float64] = (precision * relevant).sum(axis=1) / np.maximum(relevant.sum(axis=1), 1)
    return values


def _mean(name: str, title: str, said: str, values: npt.NDArray[np.float64]) -> Estimate:
    count = len(values)
    return Estimate(name, title, said, count, mean_of(values), Independent(count), count, "queries", percent=True)


def _row(name: str, exact: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> list[str | float | int | None]:
    return [name, float(exact.mean()), float(found.mean()), float((found - exact).mean())]
