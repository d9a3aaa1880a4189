"""What an evaluation found, as data: the report, the routes and the page draw it, nobody measures twice.

All of it is plain JSON by `to_json`, with None where a number is not defined.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Figure:
    """One number. `value` None: not measured, and `protocol` says why.

    `low` and `high` bound its 95 % interval, None where none is given; `n` is how many images, pairs or queries it
    rests on; `better` None where neither direction is.
    """

    name: str  # as gates and JSON name it, such as "pair_auroc"
    title: str
    value: float | None
    n: int
    protocol: str  # what was measured, how, in a sentence; where the interval comes from
    low: float | None = None
    high: float | None = None
    better: Better | None = "higher"
    percent: bool = False  # shown as a percentage


@dataclass(frozen=True)
class Series:
    """One line or one set of bars: y over x, both [N]."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Plot:
    """A drawing's data. "steps" are histograms: x are the left edges, and the right one of the last, [N + 1]."""

    name: str
    title: str
    kind: Literal["lines", "steps", "points"]
    x_label: str
    y_label: str
    series: Sequence[Series]
    diagonal: bool = False  # what chance, or a perfect calibration, would give
    log_x: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells, text or number."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]


@dataclass(frozen=True)
class Case:
    """Images worth looking at, such as a pair that was judged wrongly: their names, and JPEG thumbnails (bytes)."""

    title: str
    images: Sequence[str]
    thumbnails: Sequence[bytes]
    value: float | None = None


@dataclass(frozen=True)
class Section:
    """One part of a report. `missing` says why it is empty, where it is."""

    name: str  # such as "pairs"
    title: str
    figures: Sequence[Figure] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    cases: Sequence[Case] = ()
    notes: Sequence[str] = ()
    missing: str = ""


@dataclass(frozen=True)
class Result:
    """An evaluation from beginning to end. `provenance` is what one needs to do it again, by name."""

    protocol: str
    title: str
    provenance: Mapping[str, str | int | float]
    sections: Sequence[Section]
    seconds: float
    started: str  # UTC, ISO 8601
    version: int = field(default=1)  # of this shape

    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        return {figure.name: figure for section in self.sections for figure in section.figures}

    def to_json(self) -> dict[str, Any]:
        """As plain values; thumbnails are left out, their cases stay."""
        return _plain(self)  # type: ignore[no-any-return]


def defined(value: float) -> float | None:
    """A figure's or a cell's number; None for what is none."""
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != "thumbnails"}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return defined(value)
    return value
