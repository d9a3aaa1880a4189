"""Axes: which stretch of numbers a drawing shows, where each number lies, and which are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """From the numbers `low` to `high`, `low` < `high`, to the pixels `start` to `stop`, which may run backwards."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a number; one beyond an end lies at the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Round numbers with their texts, roughly `about` of them."""
        return _decades(self.low, self.high, about) if self.log else _round(self.low, self.high, about)


def stretch(values: Iterable[float], *, zero: bool = False, exact: bool = False) -> tuple[float, float]:
    """The ends of a linear axis for `values`: 0 and 1 where they are shares that fill it, else a little room around.

    `zero` begins at 0; `exact` ends where the values do. Of no values 0 and 1.
    """
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    if zero:
        return 0.0, 1.05 * high if high > 0 else 1.0
    if not exact and low >= 0 and high <= 1 and high - low >= 0.3:
        return 0.0, 1.0
    if low == high:
        room = abs(low) / 10 or 0.5
        return low - room, high + room
    room = 0.0 if exact else 0.04 * (high - low)
    return low - room, high + room


def decades(values: Iterable[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis, powers of ten; only positive numbers have a place on it."""
    found = [value for value in values if math.isfinite(value) and value > 0]
    if not found:
        return 0.1, 1.0
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def _round(low: float, high: float, about: int) -> list[tuple[float, str]]:
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(nice for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.999)
    digits = next((n for n in range(15) if math.isclose(round(step, n), step, rel_tol=1e-6)), 15)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(place * step, _text(place * step, digits)) for place in range(first, last + 1)]


def _text(value: float, digits: int) -> str:
    if abs(value) >= 1e6:
        return f"{value:.0e}".replace("e+0", "e").replace("-", "−")
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.replace("-", "")


def _decades(low: float, high: float, about: int) -> list[tuple[float, str]]:
    first, last = round(math.log10(low)), round(math.log10(high))
    step = max(1, math.ceil((last - first) / (about + 1)))
    return [(10.0**each, _power(each)) for each in range(first, last + 1, step)]


def _power(exponent: int) -> str:
    if -3 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)
