"""What analyses find, as the lines that are answered; a long group or list of matches takes several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from amcl_serve.http.answers.envelope import point
from amcl_serve.http.answers.stream import Event
from amcl_serve.http.reading.cuts import Cut
from amcl_serve.http.shapes.points import Selector
from amcl_serve.vectors.analysis.analyses import Analyses
from amcl_serve.vectors.analysis.directions import Floats
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows

_TOGETHER = 256  # points of a line


def groups(
    analyses: Analyses, scan: Scan, cut: Cut | None, key: str | None, whole: bool, payload: Selector
) -> Iterator[Event]:
    """Groups by a cut, or by the hash at a key; `whole`: the scan is of the whole collection."""
    if cut is None:
        assert key is not None
        found = yield from analyses.same_hash(scan, key)
    else:
        found = yield from analyses.duplicates(scan, cut.cosine, whole=whole)
    for number, (rows, nearest) in enumerate(found):
        for points in _points(scan, rows, nearest, cut, payload):
            yield {"group": {"number": number, "size": len(rows), "points": points}}
    yield {
        "result": {
            "points": len(scan.rows),
            "groups": len(found),
            "duplicates": len(found.rows) - len(found),
            "cosine": None if cut is None else cut.cosine,
        }
    }


def leaks(
    analyses: Analyses, scan: Scan, other: Scan, cut: Cut | None, key: str | None, payload: Selector
) -> Iterator[Event]:
    """Points of `scan` with those of `other` that they are near to, by a cut, or by the hash at a key."""
    if cut is None:
        assert key is not None
        found = yield from analyses.leaks_by_hash(scan, other, key)
    else:
        found = yield from analyses.leaks(scan, other, cut.cosine)
    rows, starts = np.unique(found.a, return_index=True)
    stops = np.append(starts[1:], len(found))
    for first in range(0, len(rows), _TOGETHER):
        stored = scan.points(rows[first : first + _TOGETHER])
        for place in range(first, min(first + _TOGETHER, len(rows))):
            if rows[place] not in stored:  # deleted meanwhile
                continue
            told, part = point(stored[rows[place]], payload), slice(starts[place], stops[place])
            for matches in _points(other, found.b[part], found.cosines[part], cut, payload):
                yield {"leak": told | {"matches": matches}}
    yield {
        "result": {
            "points": len(scan.rows),
            "against": len(other.rows),
            "leaks": len(rows),
            "pairs": len(found),
            "cosine": None if cut is None else cut.cosine,
        }
    }


def outliers(analyses: Analyses, scan: Scan, neighbours: int, limit: int, payload: Selector) -> Iterator[Event]:
    """Outliers, the farthest first."""
    found = yield from analyses.outliers(scan, neighbours, limit)
    yield from _each(scan, found.rows, "score", found.scores, payload)
    yield {"result": {"points": len(scan.rows), "neighbours": min(neighbours, max(0, len(scan.rows) - 1))}}


def sample(analyses: Analyses, scan: Scan, limit: int, payload: Selector) -> Iterator[Event]:
    """A diverse subset, in the order of choice."""
    found = yield from analyses.diverse(scan, limit)
    yield from _each(scan, found.rows, "distance", found.distances, payload)
    yield {"result": {"points": len(scan.rows), "radius": found.radius}}


def _each(scan: Scan, rows: Rows, name: str, values: Floats, payload: Selector) -> Iterator[Event]:
    for start in range(0, len(rows), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        for told, value in _with(scan, rows[part], values[part], payload):
            yield {"point": told | {name: value}}


def _points(
    scan: Scan, rows: Rows, cosines: Floats, cut: Cut | None, payload: Selector
) -> Iterator[list[dict[str, Any]]]:
    """Points with their cosines, so many at a time."""
    for start in range(0, len(rows), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        points = []
        for told, cosine in _with(scan, rows[part], cosines[part], payload):
            if cut is not None:
                told["score"] = cosine
                if (probability := cut.probability(cosine)) is not None:
                    told["probability"] = probability
            points.append(told)
        yield points


def _with(scan: Scan, rows: Rows, values: Floats, payload: Selector) -> Iterator[tuple[dict[str, Any], Any]]:
    """Those that are still there, each with its value."""
    stored = scan.points(np.sort(rows))
    for row, value in zip(rows.tolist(), values, strict=True):
        if row in stored:
            yield point(stored[row], payload), value
