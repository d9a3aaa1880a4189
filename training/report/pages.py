"""The report as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from training.report.figures import GRID, INK
from training.report.sections import FigureFile, Section, Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1c1d; --soft: #5c5f62; --paper: #fff; --line: #d3d4d5; --band: #f5f6f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e8; --soft: #a2a6aa; --paper: #16181a; --line: #3d4145; --band: #1e2124 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 58rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line) }
p { margin: .5rem 0 1rem; max-width: 46rem }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
th { font-weight: 600; color: var(--soft) }
figure { margin: 1.25rem 0 }
figure svg { display: block; width: 100%; min-width: 40rem; height: auto }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem }
"""


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The report with links to the figures' files."""
    blocks = [f"# {_cell(title)}"]
    for section in sections:
        blocks.append(f"## {_cell(section.title)}")
        blocks += [_cell(section.text)] if section.text else []
        for table in section.tables:
            lines = [table.header, ["---"] * len(table.header), *table.rows]
            blocks.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
        blocks += [f"![{_cell(f.caption)}]({f.file})\n\n*{_cell(f.caption)}*" for f in section.figures]
    return "\n\n".join(blocks) + "\n"


def html(title: str, sections: Sequence[Section]) -> str:
    """The report as one page that needs nothing else."""
    body = "\n".join(_section(section) for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(section.text)}</p>"] if section.text else []
    parts += [_table(table) for table in section.tables]
    parts += [_figure(figure) for figure in section.figures]
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _figure(figure: FigureFile) -> str:
    return (
        f'<figure>\n<div class="wide">{_inline(figure)}</div>\n'
        f"<figcaption>{escape(figure.caption)}</figcaption>\n</figure>"
    )


def _inline(figure: FigureFile) -> str:
    """The SVG as an element of the page, its ink and grid in the page's colours, without its white ground."""
    svg = figure.svg[figure.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("fill: #ffffff", "fill: none")
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--line)")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.caption)}" ', 1)


def _cell(text: str) -> str:
    """Text that Markdown takes literally, on one line."""
    return re.sub(r"([\\`*_\[\]|>])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
