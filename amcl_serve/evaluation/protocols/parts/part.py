"""A part of a report before its intervals are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from amcl_serve.evaluation.result import Better, Case, Figure, Plot, Section, Table, defined
from amcl_serve.metrics.bootstrap import Resampling, Statistic, interval


@dataclass(frozen=True)
class Estimate:
    """A figure with an interval: `statistic` of how often each unit of `resampling` comes."""

    name: str
    title: str
    protocol: str
    n: int
    statistic: Statistic
    resampling: Resampling
    units: int
    how: str  # what is drawn
    better: Better | None = "higher"
    percent: bool = False

    @property
    def value(self) -> float:
        """Of every unit once."""
        return self.statistic(np.ones(self.units))

    def figure(self, seed: int) -> Figure:
        """With its interval."""
        value = self.value
        low, high = interval(self.statistic, self.resampling, seed)
        said = f"{self.protocol}; interval: 95 % bootstrap over {self.how}"
        return Figure(
            self.name,
            self.title,
            defined(value),
            self.n,
            said,
            defined(low),
            defined(high),
            self.better,
            self.percent,
        )


@dataclass
class Part:
    """A section to be; `items` become its figures."""

    name: str
    title: str
    items: list[Figure | Estimate] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: str = ""

    def section(self, seed: int) -> Section:
        """With all intervals drawn."""
        figures = [item.figure(seed) if isinstance(item, Estimate) else item for item in self.items]
        return Section(self.name, self.title, figures, self.plots, self.tables, self.cases, self.notes, self.missing)


def estimates(parts: Sequence[Part]) -> dict[str, Estimate]:
    """All that have an interval, by name."""
    return {item.name: item for part in parts for item in part.items if isinstance(item, Estimate)}
