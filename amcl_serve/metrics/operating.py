"""Where a score may be cut: ROC, equal error rate, true accepts at a false-accept rate, thresholds by rate and by cost.

Legend: P pairs, T distinct scores. A pair is accepted where its score is at least the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXPECTED_FALSE_ACCEPTS = 10  # fewer say nothing of a rate


@dataclass(frozen=True)
class Curve:
    """Rates at each threshold, from none accepted to all: [T + 1] each; the first threshold is infinite."""

    thresholds: Floats
    false_accepts: Floats  # share of negative pairs that are accepted
    true_accepts: Floats  # share of positive pairs that are accepted

    @property
    def area(self) -> float:
        """AUROC: the chance that a positive pair scores above a negative one, ties counting half."""
        return float(np.trapezoid(self.true_accepts, self.false_accepts))

    @property
    def equal_error_rate(self) -> float:
        """Where as large a share of negatives is accepted as of positives refused, between thresholds by a line."""
        gap = self.false_accepts + self.true_accepts - 1  # rises from −1 to 1
        after = int(np.argmax(gap >= 0))
        before = max(after - 1, 0)
        rise = gap[after] - gap[before]
        share = -gap[before] / rise if rise > 0 else 0.0
        return float(self.false_accepts[before] + share * (self.false_accepts[after] - self.false_accepts[before]))

    def true_accepts_at(self, rate: float) -> float:
        """Share of positives that are accepted where at most `rate` of the negatives are."""
        return float(self.true_accepts[np.flatnonzero(self.false_accepts <= rate + 1e-12)[-1]])


class Scores:
    """Scores [P] of pairs that are `same` [P] or not, sorted once, so that many weightings of them cost little.

    ValueError for empty, mismatched or non-finite scores, and where pairs are of one kind only.
    """

    def __init__(self, scores: npt.ArrayLike, same: npt.ArrayLike) -> None:
        values, flags = np.asarray(scores, np.float64), np.asarray(same)
        if values.ndim != 1 or not len(values) or flags.shape != values.shape:
            raise ValueError(f"as many scores as labels are needed, not {values.shape} and {flags.shape}")
        if not np.isfinite(values).all():
            raise ValueError("scores hold NaN or infinity")
        if not np.isin(flags, (0, 1)).all():
            raise ValueError("labels must be true or false")
        flags = flags.astype(bool)
        if flags.all() or not flags.any():
            raise ValueError("positive and negative pairs are needed; got one kind only")
        self._order = np.argsort(-values, kind="stable")
        ordered = values[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) != 0]))  # of equal scores
        self._thresholds = np.concatenate([[math.inf], ordered[self._starts]])
        self._positive = flags[self._order].astype(np.float64)

    def curve(self, weights: npt.ArrayLike | None = None) -> Curve:
        """Of all pairs, or of each as often as its weight [P] says; rates are NaN where a kind weighs nothing."""
        w = np.ones(len(self._order)) if weights is None else np.asarray(weights, np.float64)[self._order]
        positive, negative = (
            np.concatenate([[0.0], np.cumsum(np.add.reduceat(w * each, self._starts))])
            for each in (self._positive, 1 - self._positive)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return Curve(self._thresholds, negative / negative[-1], positive / positive[-1])


def supported(rate: float, negatives: int) -> bool:
    """Whether so many negative pairs can say anything of a false-accept rate."""
    return rate * negatives >= EXPECTED_FALSE_ACCEPTS - 1e-9


@dataclass(frozen=True)
class Errors:
    """What a threshold does to pairs: how many negatives and positives there are, and how many are judged wrongly."""

    false_accepts: int
    negatives: int
    false_rejects: int
    positives: int


def errors_at(threshold: float, scores: npt.ArrayLike, same: npt.ArrayLike) -> Errors:
    """Of scores [P] of pairs that are `same` [P] or not."""
    accepted, flags = np.asarray(scores) >= threshold, np.asarray(same, bool)
    return Errors(int((accepted & ~flags).sum()), int((~flags).sum()), int((~accepted & flags).sum()), int(flags.sum()))


def threshold_by_rate(scores: npt.ArrayLike, same: npt.ArrayLike, rate: float) -> float:
    """The lowest threshold that accepts at most `rate` of the negative pairs; infinity where none is high enough.

    ValueError unless 0 < rate < 1, and as `Scores`.
    """
    if not 0 < rate < 1:
        raise ValueError(f"a false-accept rate lies between 0 and 1, not {rate}")
    curve = Scores(scores, same).curve()
    return _between(curve, int(np.flatnonzero(curve.false_accepts <= rate + 1e-12)[-1]))


def threshold_by_cost(
    scores: npt.ArrayLike, same: npt.ArrayLike, *, false_accept: float, false_reject: float, prior: float = 0.5
) -> float:
    """The threshold of the least expected cost, where a share `prior` of all pairs is positive; the highest of equals.

    A false accept and a false reject cost what they cost; only their ratio counts. ValueError for costs that are not
    positive, a prior outside (0, 1), and as `Scores`.
    """
    if not (false_accept > 0 and false_reject > 0 and 0 < prior < 1):
        raise ValueError(f"costs are above 0 and the prior in (0, 1), not {false_accept}, {false_reject} and {prior}")
    curve = Scores(scores, same).curve()
    cost = (1 - prior) * false_accept * curve.false_accepts + prior * false_reject * (1 - curve.true_accepts)
    return _between(curve, int(np.argmin(cost)))


def _between(curve: Curve, at: int) -> float:
    """Halfway to the next lower score, where others are cut by the same threshold least; the last one's own score."""
    if at == 0 or at + 1 == len(curve.thresholds):
        return float(curve.thresholds[at])
    return float((curve.thresholds[at] + curve.thresholds[at + 1]) / 2)


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, `count` of `total` independent ones (Wilson 1927); (0, 1) of none.

    >>> [round(x, 3) for x in wilson(0, 100)]
    [0.0, 0.037]
    """
    if not total:
        return 0.0, 1.0
    z2 = 1.959963984540054**2
    share, scale = count / total, 1 + z2 / total
    centre = (share + z2 / (2 * total)) / scale
    half = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
