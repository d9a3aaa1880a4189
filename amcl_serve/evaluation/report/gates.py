"""Gates: what a figure must reach, whatever chance had in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from amcl_serve.evaluation.report.words import measure, unmeasured
from amcl_serve.evaluation.result import Figure, Result

ALIASES = {"auroc": "pair_auroc", "eer": "pair_eer", "ece": "pair_ece_served"}


@dataclass(frozen=True)
class Gate:
    """A figure's name, or its alias, and the bound that it must reach: at least, or at most where lower is better."""

    name: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}={self.bound:g}"


@dataclass(frozen=True)
class Verdict:
    """What became of a gate. `measured` is what was compared, None where nothing could be; `reason` says what and why.

    `sign` is "≥" or "≤", empty where nothing was compared.
    """

    gate: Gate
    passed: bool
    reason: str
    figure: Figure | None = None
    measured: float | None = None
    sign: str = ""


def parse(text: str) -> Gate:
    """`NAME=BOUND`, such as auroc=0.95; ValueError where it is none."""
    name, equals, bound = (part.strip() for part in text.partition("="))
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not name or not equals or not math.isfinite(value):
        raise ValueError(f"a gate is NAME=BOUND with a number, such as auroc=0.95, not {text!r}")
    return Gate(name, value)


def judge(gates: Iterable[Gate], result: Result) -> list[Verdict]:
    """A verdict for each gate, in order.

    Where higher is better the lower bound of the figure's 95 % interval is compared, where lower is better the upper
    one; the value itself where no interval is given. A figure that is not there, was not measured, or is neither good
    nor bad fails, with the reason.
    """
    figures = result.figures()
    return [_judge(gate, figures) for gate in gates]


def headline(result: Result, verdicts: Iterable[Verdict]) -> list[Figure]:
    """The figures that had gates, then one of each section: that of its name, else the first that is good or bad.

    Those of the same title are told apart by their sections'.
    """
    gated = {each.figure.name for each in verdicts if each.figure is not None}
    first: list[tuple[str, Figure]] = []
    others: list[tuple[str, Figure]] = []
    for section in result.sections:
        first += [(section.title, figure) for figure in section.figures if figure.name in gated]
        good = [figure for figure in section.figures if figure.value is not None and figure.better is not None]
        good.sort(key=lambda figure: figure.name != section.name)
        others += [(section.title, figure) for figure in good[:1] if figure.name not in gated]
    titles = Counter(figure.title for _, figure in first + others)
    return [
        replace(figure, title=f"{figure.title}, {section.lower()}") if titles[figure.title] > 1 else figure
        for section, figure in first + others
    ]


def _judge(gate: Gate, figures: dict[str, Figure]) -> Verdict:
    figure = figures.get(gate.name) or figures.get(ALIASES.get(gate.name, ""))
    if figure is None:
        return Verdict(gate, False, _unknown(gate.name, figures))
    if figure.value is None or not math.isfinite(figure.value):
        return Verdict(gate, False, unmeasured(figure), figure)
    if figure.better is None:
        return Verdict(gate, False, "neither a high nor a low value of it is better: it has no gate", figure)
    higher = figure.better == "higher"
    bound = figure.low if higher else figure.high
    end = f"{'lower' if higher else 'upper'} end of the 95 % interval"
    if bound is None or not math.isfinite(bound):
        bound, end = figure.value, "value, which has no interval,"
    passed, sign = (bound >= gate.bound, "≥") if higher else (bound <= gate.bound, "≤")
    shown, wanted = (measure(each, percent=figure.percent) for each in (bound, gate.bound))
    if shown == wanted and bound != gate.bound:  # never two equal numbers, of which one is said to be less
        shown, wanted = repr(bound), repr(gate.bound)
    needed = f"{'at least' if higher else 'at most'} {wanted}"
    reason = f"the {end} is {shown}; {needed} {'was asked for' if passed else 'is needed'}"
    return Verdict(gate, passed, reason, figure, bound, sign)


def _unknown(name: str, figures: dict[str, Figure]) -> str:
    have = sorted({*figures, *(alias for alias, name in ALIASES.items() if name in figures)})
    near = get_close_matches(name, have, 1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    return f"no figure is called {name}{guess}; there are {', '.join(have) or 'none'}"
