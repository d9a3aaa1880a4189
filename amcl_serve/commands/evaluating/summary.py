"""What an evaluation found, in the lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amcl_serve.commands.bulk.progress import printable
from amcl_serve.evaluation.report.gates import Verdict, headline
from amcl_serve.evaluation.report.words import interval, number, value
from amcl_serve.evaluation.result import Figure, Result


def summary(result: Result, verdicts: Sequence[Verdict]) -> str:
    """The figures that matter most, with interval and n, then the gates."""
    rows = [_row(figure) for figure in headline(result, verdicts)]
    head = ("figure", "value", "95 % interval", "n", "called")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [_line(row, widths) for row in ([head, *rows] if rows else [])]
    return "\n".join([*lines, *_missing(result), *_gates(verdicts)])


def _row(figure: Figure) -> tuple[str, ...]:
    return printable(figure.title), value(figure), interval(figure), number(figure.n), figure.name


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        text.rjust(width) if 0 < column < 4 else text.ljust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def _missing(result: Result) -> Iterator[str]:
    for section in result.sections:
        if section.missing:
            yield printable(f"not measured: {section.title}: {section.missing}")


def _gates(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for each in verdicts:
        yield printable(f"{'passed' if each.passed else 'FAILED'}  {each.gate}: {each.reason}")
