"""95 % intervals by bootstrap: how far a figure would move, had other images been drawn.

Legend: U units that are drawn, B draws. A draw is how often each unit comes, [U].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 500
LEVEL = (2.5, 97.5)  # percentiles
BLOCK = 8  # neighbours in a ring that are drawn together

Counts = npt.NDArray[np.float64]
Statistic = Callable[[Counts], float]


@dataclass(frozen=True)
class Independent:
    """`units` that have nothing to do with each other, drawn with replacement; queries, for instance."""

    units: int

    def draws(self, seed: int, count: int = DRAWS) -> Iterator[Counts]:
        """How often each unit comes [U], `count` times."""
        rng = np.random.default_rng(seed)
        for _ in range(count):
            yield np.bincount(rng.integers(0, self.units, self.units), minlength=self.units).astype(np.float64)


@dataclass(frozen=True)
class Ring:
    """`units` of which each shares an image with the next, and the last with the first: blocks of them are drawn.

    The circular block bootstrap (Politis & Romano 1992), with blocks of `BLOCK`, fewer where there are few units.
    """

    units: int

    def draws(self, seed: int, count: int = DRAWS) -> Iterator[Counts]:
        """How often each unit comes [U], `count` times."""
        rng = np.random.default_rng(seed)
        block = max(1, min(BLOCK, self.units // 8))
        for _ in range(count):
            starts = rng.integers(0, self.units, -(-self.units // block))
            chosen = (starts[:, None] + np.arange(block)).ravel()[: self.units] % self.units
            yield np.bincount(chosen, minlength=self.units).astype(np.float64)


@dataclass(frozen=True)
class Clusters:
    """Units that belong to clusters `of` [U], numbers from 0; whole clusters are drawn."""

    of: npt.NDArray[np.int64]

    def draws(self, seed: int, count: int = DRAWS) -> Iterator[Counts]:
        """How often each unit comes [U], `count` times."""
        for each in Independent(int(self.of.max()) + 1).draws(seed, count):
            yield each[self.of]


@dataclass(frozen=True)
class Products:
    """Pairs of units, `first` and `second` [U], numbers of images: images are drawn, and a pair comes as often as the
    product of its two images' counts (the pigeonhole bootstrap, Owen 2007).

    It errs on the wide side where pairs share few images.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]

    def draws(self, seed: int, count: int = DRAWS) -> Iterator[Counts]:
        """How often each pair comes [U], `count` times."""
        images = int(max(self.first.max(), self.second.max())) + 1
        for each in Independent(images).draws(seed, count):
            yield each[self.first] * np.where(self.first == self.second, 1.0, each[self.second])


Resampling = Independent | Ring | Clusters | Products


def interval(statistic: Statistic, resampling: Resampling, seed: int = 0) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of `statistic` over draws; NaN where it is not defined for enough of them."""
    return _percentiles(np.array([statistic(each) for each in resampling.draws(seed)]))


def paired(one: Statistic, other: Statistic, resampling: Resampling, seed: int = 0) -> tuple[float, float]:
    """The same of `other` less `one`, both of the same draws, so that what is easy for both cancels."""
    return _percentiles(np.array([other(each) - one(each) for each in resampling.draws(seed)]))


def _percentiles(found: npt.NDArray[np.float64]) -> tuple[float, float]:
    defined = found[np.isfinite(found)]
    if len(defined) < len(found) / 2:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, LEVEL)
    return float(low), float(high)


def mean_of(values: npt.ArrayLike) -> Statistic:
    """The mean of `values` [U], each as often as its unit is drawn."""
    each = np.asarray(values, np.float64)
    return lambda counts: float(counts @ each / counts.sum())
