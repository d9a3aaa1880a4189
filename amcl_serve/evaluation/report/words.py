"""Numbers and strangers' text as a report shows them."""

from __future__ import annotations

import math
import re

from amcl_serve.evaluation.result import Figure

NONE = "–"
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
# What reorders the text around it, or is not seen at all: a file's name may look like another's.
_MOVING = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def clean(text: str) -> str:
    """`text` with U+FFFD for what XML and UTF-8 have no place for: control characters, bytes of no encoding."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def seen(text: str) -> str:
    """`clean(text)`, and U+FFFD for what would change the order of the text beside it or not be seen."""
    return _MOVING.sub("\N{REPLACEMENT CHARACTER}", clean(text))


def number(value: float | None, digits: int = 4) -> str:
    """At most `digits` significant ones, with a true minus sign; whole numbers in groups of three."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 10**digits:
        return f"{value:,.0f}".replace("-", "−")
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def measure(value: float | None, *, percent: bool) -> str:
    """A figure's value, or a bound of it: with four decimals up to 10, or a percentage with two."""
    if value is None or not math.isfinite(value):
        return NONE
    if percent:
        return f"{100 * value:.2f} %".replace("-", "−")
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.4f}".replace("-", "−")
    return number(value)


def value(figure: Figure) -> str:
    """Its value; a whole number without an interval is a count."""
    if figure.value is not None and figure.low is None and not figure.percent and float(figure.value).is_integer():
        return number(figure.value)
    return measure(figure.value, percent=figure.percent)


def interval(figure: Figure) -> str:
    """Its 95 % interval; a dash where none is given."""
    if figure.low is None or figure.high is None:
        return NONE
    low, high = (measure(bound, percent=figure.percent) for bound in (figure.low, figure.high))
    return f"{low.removesuffix(' %')} to {high}"


def unmeasured(figure: Figure) -> str:
    """Why it has no value, in a sentence that begins with that."""
    return f"not measured: {figure.protocol.removeprefix('not measured: ')}"
