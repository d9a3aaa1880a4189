"""A plot as inline SVG. Colours are the page's, light or dark, and lines differ by their dashes too.

Three kinds of plot: a library that draws more would be the largest thing in the serving environment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby

from amcl_serve.evaluation.report.scales import Scale, decades, stretch
from amcl_serve.evaluation.report.words import number, seen
from amcl_serve.evaluation.result import Plot, Series

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 10, 46
COLOURS = 6  # then they begin again
_TOLD = 60  # points of a series whose numbers show on hover
_LISTED = 60  # values of a series in the table below the drawing
_CLOSE = 0.3  # pixels: a line with a corner less looks the same
_POSTER = {"positive": ("positive", "positives", "same"), "negative": ("negative", "negatives", "different")}

Point = tuple[float, float]


def figure(plot: Plot) -> str:
    """The plot with its title and legend, an HTML `figure`."""
    drawn = [series for series in plot.series if any(_finite(y) for y in series.y)]
    title = escape(seen(plot.title))
    if not drawn:
        return f'<figure class="plot"><figcaption>{title}</figcaption><p class="none">Nothing to draw.</p></figure>'
    kinds = _colours(drawn)
    # One line needs no legend where its name is the axis's.
    legend = "".join(
        f"<li>{_swatch(plot.kind, kind)}{escape(seen(series.label))}</li>"
        for series, kind in zip(drawn, kinds, strict=True)
    )
    key = "" if len(drawn) == 1 and drawn[0].label in ("", plot.title, plot.y_label) else f"<ul>{legend}</ul>"
    body = f"{key}{_svg(plot, drawn, kinds)}{_values(plot, drawn)}"
    return f'<figure class="plot"><figcaption>{title}</figcaption>{body}</figure>'


def _values(plot: Plot, drawn: Sequence[Series]) -> str:
    """What was drawn, as a table that opens: every bin, and of many points some, the first and the last among them."""
    several, thinned = len(drawn) > 1, False
    rows = []
    for series in drawn:
        found: list[tuple[tuple[float, ...], float]]
        if plot.kind == "steps":
            bins = zip(series.x, series.x[1:], series.y, strict=False)
            found = [((left, right), y) for left, right, y in bins if y is not None and _finite(y) and y]
        else:
            found = [((x,), y) for x, y in zip(series.x, series.y, strict=False) if y is not None and _finite(y)]
        if len(found) > _LISTED and plot.kind != "steps":
            thinned = True
            found = [found[round(place * (len(found) - 1) / (_LISTED - 1))] for place in range(_LISTED)]
        name = f"<td>{escape(seen(series.label))}</td>" if several else ""
        for x, y in found:
            cells = "".join(f'<td class="n">{number(each)}</td>' for each in (*x, y))
            rows.append(f"<tr>{name}{cells}</tr>")
    x_label = escape(seen(plot.x_label))
    across = [f"{x_label}, from", "to"] if plot.kind == "steps" else [x_label]
    head = '<th scope="col">series</th>' if several else ""
    head += "".join(f'<th scope="col" class="n">{each}</th>' for each in (*across, escape(seen(plot.y_label))))
    said = f"Values, at most {_LISTED} of a series; all are in report.json" if thinned else "Values"
    return (
        f"<details><summary>{said}</summary>"
        f'<div class="wide" tabindex="0" role="region" aria-label="Values: {escape(seen(plot.title))}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _svg(plot: Plot, drawn: Sequence[Series], kinds: Sequence[str]) -> str:
    across, up = _scales(plot, drawn)
    names = "; ".join(seen(series.label) for series in drawn if series.label)
    label = escape(
        f"{seen(plot.title)}: {seen(plot.y_label)} over {seen(plot.x_label)}" + (f"; {names}" if names else "")
    )
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">', *_axes(plot, across, up)]
    if plot.diagonal:
        low, high = max(across.low, up.low), min(across.high, up.high)
        points = [(across(x), up(x)) for x in _between(low, high, across.log)] if low < high else []
        parts.append(f'<path class="chance" d="{_path(points)}"/>')
    draw = {"lines": _line, "steps": _steps, "points": _points}[plot.kind]
    for series, kind in zip(drawn, kinds, strict=True):
        parts += draw(series, kind, across, up)
    for series in drawn:
        parts += _told(plot, series, across, up)
    return "".join([*parts, "</svg>"])


def _scales(plot: Plot, drawn: Sequence[Series]) -> tuple[Scale, Scale]:
    xs = [x for series in drawn for x in series.x]
    # What a logarithmic axis has no place for does not stretch the other one either.
    ys = [
        y
        for series in drawn
        for x, y in zip(series.x, series.y, strict=False)
        if y is not None and (x > 0 or not plot.log_x)
    ]
    ends = decades(xs) if plot.log_x else stretch(xs, exact=plot.kind == "steps")
    return (
        Scale(*ends, LEFT, WIDTH - RIGHT, log=plot.log_x),
        Scale(*stretch(ys, zero=plot.kind == "steps"), HEIGHT - BOTTOM, TOP),
    )


def _axes(plot: Plot, across: Scale, up: Scale) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value, text in up.ticks():
        y = up(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
        yield f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    for value, text in across.ticks():
        x = across(value)
        yield f'<path class="tick" d="M{x:.1f} {bottom}v4"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    middle = (LEFT + right) / 2
    yield f'<text class="label" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(seen(plot.x_label))}</text>'
    middle = (TOP + bottom) / 2
    yield (
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(seen(plot.y_label))}</text>"
    )


def _line(series: Series, kind: str, across: Scale, up: Scale) -> Iterator[str]:
    for run in _runs(series, across):
        points = list(_thinned((across(x), up(y)) for x, y in run))
        if len(points) == 1:  # a line of one point is not seen
            yield f'<circle class="mark {kind}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3"/>'
        else:
            yield f'<path class="line {kind}" d="{_path(points)}"/>'


def _steps(series: Series, kind: str, across: Scale, up: Scale) -> Iterator[str]:
    base = up(0.0)
    bars = [(left, right, y or 0.0) for left, right, y in zip(series.x, series.x[1:], series.y, strict=False)]
    for drawn, run in groupby(bars, key=lambda bar: bar[2] != 0 and math.isfinite(bar[2])):
        if drawn:  # several series would lie on each other along zero
            corners = [(across(x), up(y)) for left, right, y in run for x in (left, right)]
            path = _path([(corners[0][0], base), *corners, (corners[-1][0], base)])
            yield f'<path class="area {kind}" d="{path}Z"/><path class="line {kind}" d="{path}"/>'


def _points(series: Series, kind: str, across: Scale, up: Scale) -> Iterator[str]:
    # Points that share a pixel are drawn once; few ones are drawn large.
    places = {(round(across(x)), round(up(y))) for run in _runs(series, across) for x, y in run}
    size = 4 if len(places) <= _TOLD else 2
    disc = f"a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0-{2 * size} 0"
    marks = "".join(f"M{x - size} {y}{disc}" for x, y in sorted(places))
    yield f'<path class="dots {kind}" d="{marks}"/>'


def _told(plot: Plot, series: Series, across: Scale, up: Scale) -> Iterator[str]:
    """What shows on hover: bins of a histogram, some points of anything else."""
    name = f"{seen(series.label)}: " if series.label else ""
    if plot.kind == "steps":
        for left, right, y in zip(series.x, series.x[1:], series.y, strict=False):
            if y is None or not math.isfinite(y) or not y:
                continue
            start, stop, top = across(left), across(right), up(y)
            text = f"{name}{number(y)} from {number(left)} to {number(right)}"
            yield (
                f'<rect class="hit" x="{start:.1f}" y="{top:.1f}" width="{stop - start:.1f}" '
                f'height="{up(0.0) - top:.1f}"><title>{escape(text)}</title></rect>'
            )
        return
    found = [point for run in _runs(series, across) for point in run]
    for x, y in found[:: max(1, math.ceil(len(found) / _TOLD))]:
        text = f"{name}{number(y)} at {number(x)}"
        yield (
            f'<circle class="hit" cx="{across(x):.1f}" cy="{up(y):.1f}" r="6"><title>{escape(text)}</title></circle>'
        )


def _runs(series: Series, across: Scale) -> list[list[Point]]:
    """The points without a gap between them; those that the axis has no place for are gaps."""
    runs: list[list[Point]] = [[]]
    for x, y in zip(series.x, series.y, strict=False):
        if y is not None and math.isfinite(y) and math.isfinite(x) and (x > 0 or not across.log):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thinned(points: Iterable[Point]) -> Iterator[Point]:
    """Without points that lie on the one before; the last one stays."""
    last: Point | None = None
    left_out: Point | None = None
    for point in points:
        if last is None or math.dist(last, point) >= _CLOSE:
            last, left_out = point, None
            yield point
        else:
            left_out = point
    if left_out is not None:
        yield left_out


def _between(low: float, high: float, log: bool) -> list[float]:
    if not log:
        return [low, high]
    return [low * (high / low) ** (step / 40) for step in range(41)]


def _path(points: Iterable[Point]) -> str:
    text = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{text}" if text else ""


def _swatch(kind: str, colour: str) -> str:
    shape = (
        f'<path class="line {colour}" d="M1 7H25"/>'
        if kind == "lines"
        else f'<rect class="area {colour}" x="4" y="2" width="18" height="10"/>'
        f'<rect class="line {colour}" x="4" y="2" width="18" height="10"/>'
        if kind == "steps"
        else f'<circle class="mark {colour}" cx="13" cy="7" r="3.5"/>'
    )
    return f'<svg class="swatch" viewBox="0 0 26 14" aria-hidden="true">{shape}</svg>'


def _colours(drawn: Sequence[Series]) -> list[str]:
    """Of each series: the poster's colours for one positive and one negative, else in order."""
    found = [_poster(series.label) or f"s{place % COLOURS}" for place, series in enumerate(drawn)]
    return found if len(set(found)) == len(found) else [f"s{place % COLOURS}" for place in range(len(drawn))]


def _poster(label: str) -> str:
    words = label.lower().replace("-", " ").split()
    return next((kind for kind, names in _POSTER.items() if any(name in words for name in names)), "")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
