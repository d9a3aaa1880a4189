"""Pairs of embeddings, scored by a model, with what has to be drawn together when they are drawn again.

Legend: P pairs, C heads, U units of a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.embedder import Embedded, Embedder, Scored
from amcl_serve.evaluation.progress import Progress
from amcl_serve.metrics.bootstrap import Counts, Resampling, Ring
from amcl_serve.metrics.operating import Scores

_CHUNK = 512  # pairs scored at a time

Numbers = npt.NDArray[np.int64]
Pictures = Callable[[int], tuple[list[str], list[bytes]]]  # of a pair: names and thumbnails


@dataclass(frozen=True)
class PairSet:
    """P pairs of a model, `same` [P] or not; each belongs to a unit [P] of `resampling`, which has `units`."""

    scored: Scored
    same: npt.NDArray[np.bool_]
    unit: Numbers
    units: int
    resampling: Resampling
    drawn: str  # what the units are, in words
    pictures: Pictures

    def __len__(self) -> int:
        """P."""
        return len(self.same)

    def weights(self, counts: Counts) -> Counts:
        """How often each pair comes [P], from how often each unit does [U]."""
        return counts[self.unit]

    def scores(self, values: npt.NDArray[np.float64] | None = None) -> Scores:
        """The pair score, or other `values` [P], ready for curves."""
        return Scores(self.scored.score if values is None else values, self.same)


def score(
    embedder: Embedder, a: Sequence[Embedded], b: Sequence[Embedded], progress: Progress, stage: str = "pairs"
) -> Scored:
    """Row-wise pairs, some at a time."""
    parts = []
    for start in range(0, len(a), _CHUNK):
        progress(stage, start, len(a))
        parts.append(embedder.score(a[start : start + _CHUNK], b[start : start + _CHUNK]))
    progress(stage, len(a), len(a))
    return joined(parts)


def joined(parts: Sequence[Scored]) -> Scored:
    """One after another."""
    columns = []
    for name in ("features", "score", "probability", "heads", "temperature"):
        values = [getattr(part, name) for part in parts]
        columns.append(None if values[0] is None else np.concatenate(values).astype(np.float64))
    features, scores, probability, heads, temperature = columns
    assert features is not None
    assert scores is not None
    return Scored(features, scores, probability, heads, temperature)


def ring(
    embedder: Embedder,
    first: Sequence[Embedded],
    second: Sequence[Embedded],
    progress: Progress,
    *,
    names: npt.NDArray[np.str_] | None = None,
    drawn: str,
    pictures: Callable[[int, int], tuple[list[str], list[bytes]]],
    stage: str = "pairs",
) -> PairSet:
    """Positive pairs first[i], second[i], and negative ones first[i], second[i + 1], around; half as many of each.

    Where `names` [U] says what both show, negative pairs of the same are left out. `pictures` is given the numbers of
    the first and of the second.
    """
    units = np.arange(len(first))
    after = np.roll(units, -1)
    kept = units if names is None else np.flatnonzero(names != names[after])
    ends = np.concatenate([units, after[kept]])
    begins = np.concatenate([units, kept])
    scored = score(embedder, [first[i] for i in begins], [second[i] for i in ends], progress, stage)
    return PairSet(
        scored=scored,
        same=np.arange(len(begins)) < len(units),
        unit=begins,
        units=len(units),
        resampling=Ring(len(units)),
        drawn=drawn,
        pictures=lambda pair: pictures(int(begins[pair]), int(ends[pair])),
    )
