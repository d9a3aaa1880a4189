"""The parts of the page, each a pure function of what it shows."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from amcl_serve.evaluation.report import plots as drawing
from amcl_serve.evaluation.report.gates import Verdict, headline
from amcl_serve.evaluation.report.scales import Scale
from amcl_serve.evaluation.report.words import NONE, interval, number, seen, unmeasured, value
from amcl_serve.evaluation.result import Case, Figure, Plot, Result, Section, Table

TILES = 6
_BETTER = {"higher": "Higher is better.", "lower": "Lower is better.", None: ""}
_PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}


def verdict(verdicts: Sequence[Verdict]) -> str:
    """What became of the gates, in a sentence and as a table."""
    if not verdicts:
        return (
            '<section class="card verdict" id="verdict"><h2>No gates were set</h2>'
            "<p>Nothing was promised, so nothing was kept or broken. A gate such as "
            "<code>--fail-under auroc=0.95</code> holds the worse end of a figure’s interval against a bound.</p>"
            "</section>"
        )
    passed = sum(each.passed for each in verdicts)
    kind = "passed" if passed == len(verdicts) else "failed"
    words = "Passed" if kind == "passed" else "Failed"
    of = f"{passed} of {len(verdicts)} gate{'s' if len(verdicts) > 1 else ''} passed"
    rows = "".join(map(_gate, verdicts))
    return (
        f'<section class="card verdict {kind}" id="verdict"><h2>{words}: {of}</h2>'
        "<p>A gate compares the end of a figure’s 95 % interval that is the worse one: luck alone does not pass it.</p>"
        '<table class="stacked gates"><thead><tr><th scope="col">Gate</th><th scope="col">Result</th>'
        '<th scope="col">Interval and bound</th><th scope="col">Why</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


def _gate(each: Verdict) -> str:
    mark = '<span class="mark-passed">✓ passed</span>' if each.passed else '<span class="mark-failed">✗ failed</span>'
    name = seen(each.gate.name if each.figure is None else each.figure.title)
    bound = (
        f"{100 * each.gate.bound:g} %" if each.figure is not None and each.figure.percent else f"{each.gate.bound:g}"
    )
    asked = f'<span class="soft">{each.sign} {bound}</span>' if each.sign else ""
    return (
        f'<tr><th scope="row">{escape(name)} {asked}</th><td>{mark}</td><td class="across">{_whisker(each)}</td>'
        f'<td class="across">{escape(seen(each.reason))}</td></tr>'
    )


def _whisker(each: Verdict) -> str:
    """The interval, its value, and the bound, on an axis of their own."""
    figure = each.figure
    if figure is None or figure.value is None or each.measured is None:
        return ""
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    ends = min(low, each.gate.bound), max(high, each.gate.bound)
    if ends[0] == ends[1]:
        ends = ends[0] - 0.5, ends[1] + 0.5
    at = Scale(*ends, 8, 168)
    kind = "bound" if each.passed else "bound short"
    return (
        '<svg class="whisker" viewBox="0 0 176 28" aria-hidden="true">'
        f'<path class="reach" d="M{at(low):.1f} 14H{at(high):.1f}M{at(low):.1f} 9v10M{at(high):.1f} 9v10"/>'
        f'<circle cx="{at(figure.value):.1f}" cy="14" r="3.5"/>'
        f'<path class="{kind}" d="M{at(each.gate.bound):.1f} 2v24"/></svg>'
    )


def glance(result: Result, verdicts: Sequence[Verdict], ids: Iterator[int]) -> str:
    """The figures that matter most, large."""
    tiles = "".join(_tile(figure, ids) for figure in headline(result, verdicts)[:TILES])
    return f'<dl class="tiles" aria-label="At a glance">{tiles}</dl>' if tiles else ""


def _tile(figure: Figure, ids: Iterator[int]) -> str:
    spread = f"{interval(figure)}<br>" if figure.low is not None else ""
    return (
        f"<div><dt>{_explained(figure, ids)}</dt><dd>{value(figure)}</dd><dd>{spread}n = {number(figure.n)}</dd></div>"
    )


def contents(sections: Sequence[Section]) -> str:
    """Links to all sections."""
    links = '<li><small>1</small><a href="#provenance">Provenance</a></li>'
    for place, section in enumerate(sections, 2):
        link = f'<a href="#section-{place}">{escape(seen(section.title))}</a>'
        note = ' <span class="empty">(not measured)</span>' if section.missing else ""
        links += f"<li><small>{place}</small>{link}{note}</li>"
    return f'<nav class="card" aria-label="Contents"><ul>{links}</ul></nav>'


def provenance(result: Result) -> str:
    """What one needs to do it again."""
    rows = "".join(
        f'<tr><th scope="row">{escape(seen(name).replace("_", " "))}</th><td>{escape(seen(str(said)))}</td></tr>'
        for name, said in result.provenance.items()
    )
    body = f'<table class="pairs"><tbody>{rows}</tbody></table>' if rows else '<p class="missing">None was given.</p>'
    return f'<section class="card" id="provenance"><h2><small>1</small>Provenance</h2>{body}</section>'


def figures(found: Sequence[Figure], ids: Iterator[int]) -> str:
    """A row for each figure."""
    rows = "".join(_row(figure, ids) for figure in found)
    return (
        '<table class="stacked"><thead><tr><th scope="col">Figure</th><th scope="col" class="n">Value</th>'
        '<th scope="col" class="n">95 % interval</th><th scope="col" class="n">n</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _row(figure: Figure, ids: Iterator[int]) -> str:
    if figure.value is None:  # why is more than a hint
        return (
            f'<tr><th scope="row">{escape(seen(figure.title))}</th>'
            f'<td colspan="3" class="across soft">{escape(seen(unmeasured(figure)))}</td></tr>'
        )
    return (
        f'<tr><th scope="row">{_explained(figure, ids)}</th>'
        f'<td class="n value">{value(figure)}</td>'
        f'<td class="n" data-name="95 %">{interval(figure)}</td>'
        f'<td class="n soft" data-name="n =">{number(figure.n)}</td></tr>'
    )


def _explained(figure: Figure, ids: Iterator[int]) -> str:
    """Its title, with what was measured on hover and on focus."""
    name = f"about-{next(ids)}"
    better = _BETTER[figure.better]
    more = f"<em>{better} Called {escape(seen(figure.name))}.</em>"
    return (
        f'<span class="tip"><button type="button" aria-describedby="{name}">{escape(seen(figure.title))}</button>'
        f'<span role="tooltip" id="{name}">{escape(seen(figure.protocol))}{more}</span></span>'
    )


def plots(found: Sequence[Plot]) -> str:
    """All drawings of a section."""
    return f'<div class="plots">{"".join(drawing.figure(plot) for plot in found)}</div>'


def table(found: Table) -> str:
    """A table that scrolls where it is larger than its place; numbers stand at the right."""
    title = escape(seen(found.title))
    numeric = [
        all(isinstance(row[place], int | float | None) for row in found.rows) for place in range(len(found.columns))
    ]
    kinds = [' class="n"' if right else "" for right in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{escape(seen(name))}</th>' for name, kind in zip(found.columns, kinds, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row, kinds))}</tr>" for row in found.rows)
    return (
        f'<h3>{title}</h3><div class="wide" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: str | float | int | None, kind: str) -> str:
    text = NONE if cell is None else escape(seen(cell)) if isinstance(cell, str) else number(cell)
    return f"<td{kind}>{text}</td>"


def cases(found: Sequence[Case]) -> str:
    """Pictures, those of one title together."""
    return "".join(
        f'<h3>{escape(seen(title))}</h3><div class="cases">{"".join(map(_case, group))}</div>'
        for title, group in groupby(found, key=lambda case: case.title)
    )


def _case(case: Case) -> str:
    pictures = "".join(
        _picture(case.thumbnails[place] if place < len(case.thumbnails) else b"") for place in range(len(case.images))
    )
    score = "" if case.value is None else f"<p>{number(case.value)}</p>"
    names = "".join(f"<li><bdi>{escape(seen(name))}</bdi></li>" for name in dict.fromkeys(case.images))
    return f'<div class="case"><div class="pictures">{pictures}</div>{score}<ul>{names}</ul></div>'


def _picture(data: bytes) -> str:
    """Only what begins like a picture is shown as one."""
    kind = next((kind for start, kind in _PICTURES.items() if data.startswith(start)), None)
    if kind is None:
        return '<span class="gone">no picture</span>'
    # Its name stands below: read out once is enough.
    return f'<img alt="" src="data:{kind};base64,{base64.b64encode(data).decode()}">'
