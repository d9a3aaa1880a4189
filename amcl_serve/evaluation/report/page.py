"""The report as one HTML page that needs nothing else: no script, no network, all text of the result escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from itertools import count
from pathlib import Path

from amcl_serve.evaluation.report.gates import Verdict
from amcl_serve.evaluation.report.parts import (
    cases,
    contents,
    figures,
    glance,
    plots,
    provenance,
    table,
    verdict,
)
from amcl_serve.evaluation.report.words import number, seen
from amcl_serve.evaluation.result import Result, Section

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
# A page that somebody opens from a file or a server: it may show itself and its pictures, and nothing may be loaded.
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


def page(result: Result, verdicts: Sequence[Verdict] = ()) -> str:
    """The page of `result`, with what became of its gates first."""
    title = escape(seen(result.title))
    ids = count(1)  # of explanations
    sections = "\n".join(_section(section, place, ids) for place, section in enumerate(result.sections, 2))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="eyebrow">Evaluation report</p>
<h1>{title}</h1>
<p class="lead">{escape(_lead(result))}</p>
</header>
<main>
{verdict(verdicts)}
{glance(result, verdicts, ids)}
{contents(result.sections)}
{provenance(result)}
{sections}
</main>
<footer>
<p>An interval holds the true value in 95 of 100 repetitions; n is the number of images, pairs or queries that a figure
rests on. A dash: not measured, or not defined.</p>
<p>All numbers of this page, and those that were drawn from, are in report.json.</p>
</footer>
</body>
</html>
"""


def _lead(result: Result) -> str:
    protocol = seen(result.protocol).replace("_", " ")
    seconds = number(round(result.seconds, 1) if result.seconds < 100 else round(result.seconds))
    started = seen(result.started)[:19].replace("T", " ")
    return f"Protocol: {protocol} · begun {started} UTC · took {seconds} s"


def _section(section: Section, place: int, ids: Iterator[int]) -> str:
    parts = [
        f'<section class="card" id="section-{place}">',
        f"<h2><small>{place}</small>{escape(seen(section.title))}</h2>",
    ]
    if section.missing:
        parts.append(f'<p class="missing">Not measured: {escape(seen(section.missing))}</p>')
    parts += [f'<p class="note">{escape(seen(note))}</p>' for note in section.notes]
    parts += [figures(section.figures, ids)] if section.figures else []
    parts += [plots(section.plots)] if section.plots else []
    parts += [table(each) for each in section.tables]
    parts += [cases(section.cases)] if section.cases else []
    return "\n".join([*parts, "</section>"])
