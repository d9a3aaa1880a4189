"""What another model changes in a collection, measured on a sample of its points."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.client import Client
from amcl_serve.commands.bulk.progress import printable
from amcl_serve.errors import PointNotFound
from amcl_serve.metrics.drift import neighbour_overlap, rank_correlation

SEED = 0
NEIGHBOURS = 10
MOST_CHANGED = 10  # examples of the report
_TOGETHER = 100  # vectors asked for at a time

Report = dict[str, Any]  # as JSON


def measure(client: Client, old: str, new: str, ids: Sequence[int | str], sample: int) -> Report:
    """Compare the neighbours and the similarities of `sample` of the points `ids`, drawn by SEED, in two collections.

    `neighbour_overlap_at_10` is the mean share of the ten nearest points that are the same in both, each found by
    looking at every vector; `rank_correlation` Spearman's of the similarities of all pairs of the sample. The points
    that changed most are those with the least overlap and then the least correlation of their similarities to the
    others.
    """
    drawn = np.random.default_rng(SEED).choice(len(ids), min(sample, len(ids)), replace=False)
    chosen = [ids[place] for place in sorted(drawn.tolist())]
    vectors = {name: _vectors(client, name, chosen) for name in (old, new)}
    chosen = [
        each for each in chosen if each in vectors[old] and each in vectors[new]
    ]  # others may be deleted meanwhile
    similar = {name: _similarities(client, name, [vectors[name][each] for each in chosen]) for name in (old, new)}
    points = []
    for row, each in enumerate(chosen):
        try:
            before, after = (_nearest(client, name, each) for name in (old, new))
        except PointNotFound:
            continue
        others = np.arange(len(chosen)) != row
        points.append(
            {
                "id": each,
                "path": _path(client, old, each),
                "overlap": neighbour_overlap(list(before), list(after)),
                "rank_correlation": _number(rank_correlation(similar[old][row, others], similar[new][row, others])),
                "before": list(before.values())[:3],
                "after": list(after.values())[:3],
            }
        )
    pairs = np.triu_indices(len(chosen), 1)
    points.sort(key=lambda point: (point["overlap"], point["rank_correlation"] or 0.0))
    return {
        "sample": len(points),
        "seed": SEED,
        "neighbour_overlap_at_10": fmean(point["overlap"] for point in points) if points else None,
        "rank_correlation": _number(rank_correlation(similar[old][pairs], similar[new][pairs])),
        "most_changed": points[:MOST_CHANGED],
    }


def text(report: Report) -> str:
    """The report for people."""
    overlap, correlation = report["neighbour_overlap_at_10"], report["rank_correlation"]
    lines = [
        f"drift over {report['sample']} points (seed {report['seed']}):",
        f"  share of the 10 nearest that is the same: {_shown(overlap)}",
        f"  rank correlation of similarities (Spearman): {_shown(correlation)}",
        "  changed most (that share; the three nearest before  ->  after):",
    ]
    for point in report["most_changed"]:
        near = f"{', '.join(map(printable, point['before']))}  ->  {', '.join(map(printable, point['after']))}"
        lines.append(f"    {point['overlap']:.1f}  {printable(point['path'])}: {near}")
    return "\n".join(lines)


def _vectors(client: Client, collection: str, ids: Sequence[int | str]) -> dict[int | str, list[float]]:
    """By id, of those that there are."""
    found: dict[int | str, list[float]] = {}
    for start in range(0, len(ids), _TOGETHER):
        part = client.retrieve(collection, ids[start : start + _TOGETHER], with_payload=False, with_vector=True)
        found |= {point["id"]: point["vector"] for point in part}
    return found


def _similarities(client: Client, collection: str, rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    """[N, N], higher for what is more alike."""
    if not rows:
        return np.empty((0, 0))
    vectors = np.array(rows, np.float64)
    if client.collection(collection)["config"]["params"]["vectors"]["distance"] == "Euclid":
        square = (vectors**2).sum(axis=1)
        distances: npt.NDArray[np.float64] = 2 * vectors @ vectors.T - square[:, None] - square
        return distances
    products: npt.NDArray[np.float64] = vectors @ vectors.T
    return products


def _nearest(client: Client, collection: str, point: int | str) -> dict[int | str, str]:
    """Its ten nearest, by id, and what they are called."""
    found = client.query(collection, id=point, limit=NEIGHBOURS, exact=True, with_payload=True)
    return {hit["id"]: str(hit["payload"].get("path", hit["id"])) for hit in found}


def _path(client: Client, collection: str, point: int | str) -> str:
    found = client.retrieve(collection, [point])
    return str(found[0]["payload"].get("path", point)) if found else str(point)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _shown(value: float | None) -> str:
    return "nothing to compare" if value is None else f"{value:.3f}"
