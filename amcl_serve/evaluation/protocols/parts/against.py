"""Two models beside each other: the same images, the same draws, the differences with their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from amcl_serve.evaluation.protocols import cases
from amcl_serve.evaluation.protocols.look import Look, evenly
from amcl_serve.evaluation.protocols.parts.geometry import MOST, K
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part, estimates
from amcl_serve.evaluation.result import Figure, Table, defined
from amcl_serve.metrics.bootstrap import Independent, mean_of, paired
from amcl_serve.metrics.neighbours import neighbours, shared

_VALUES = 5  # of a row: this model's, the other's, the difference, its interval


def against(look: Look, parts: Sequence[Part], others: Sequence[Part], seed: int) -> Part:
    """The figures of the second model of the look beside the first's, and whose neighbours changed most."""
    name = look.models[1].embedder.about.name
    part = Part("against", f"Beside {name}")
    ours, theirs = estimates(parts), estimates(others)
    titles = _titles(parts)
    rows: list[list[str | float | int | None]] = []
    for each in ours.values():
        if other := theirs.get(each.name):
            low, high = paired(other.statistic, each.statistic, each.resampling, seed)
            difference = defined(each.value - other.value)
            said = f"this model less {name}: {each.protocol}; interval: 95 % paired bootstrap over {each.how}"
            part.items.append(
                Figure(
                    f"{each.name}_difference",
                    f"{titles[each.name]}, difference",
                    difference,
                    each.n,
                    said,
                    defined(low),
                    defined(high),
                    each.better,
                    each.percent,
                )
            )
            rows.append(
                _row(titles[each.name], each.percent, each.value, other.value, each.value - other.value, low, high)
            )
    plain = {item.name: item for each in others for item in each.items if isinstance(item, Figure)}
    for each_part in parts:
        for item in each_part.items:
            twin = plain.get(item.name)
            if twin is None or twin.value is None or not isinstance(item, Figure) or item.value is None:
                continue
            if each_part.name != "health":
                title = titles[item.name]
                rows.append(_row(title, item.percent, item.value, twin.value, item.value - twin.value))
    columns = ("figure", look.models[0].embedder.about.name, name, "difference", "from", "to")
    part.tables.append(Table("Both models", columns, rows))
    _neighbours(look, part, seed)
    return part


def _titles(parts: Sequence[Part]) -> dict[str, str]:
    """Of each figure by name; those of one title are told apart by their sections'."""
    often = Counter(item.title for part in parts for item in part.items)
    return {
        item.name: f"{item.title}, {part.title.lower()}" if often[item.title] > 1 else item.title
        for part in parts
        for item in part.items
    }


def _row(title: str, percent: bool, *values: float) -> list[str | float | int | None]:
    """Of the table; shares in percent, and empty at its end."""
    shown = [defined(100 * value if percent else value) for value in values]
    return [f"{title}, %" if percent else title, *shown, *[None] * (_VALUES - len(shown))]


def _neighbours(look: Look, part: Part, seed: int) -> None:
    places = look.held_out[evenly(len(look.held_out), MOST)]
    k = min(K, len(places) - 1)
    one, other = (neighbours(model.features[places], k).index for model in look.models)
    same = shared(one, other)
    part.items.append(
        Estimate(
            name="neighbour_overlap",
            title="Neighbours in common",
            protocol=f"share of the {k} nearest images that both models agree on, mean over images",
            n=len(places),
            statistic=mean_of(same),
            resampling=Independent(len(places)),
            units=len(places),
            how="images",
            better=None,
            percent=True,
        )
    )
    # Of those that changed alike, any: the first by name would all be of one folder.
    order = np.random.default_rng(seed).permutation(len(same))
    for row in order[np.argsort(same[order], kind="stable")][: cases.SHOWN]:
        shown = [int(places[row]), int(places[one[row, 0]]), int(places[other[row, 0]])]
        title = "changed most (share of neighbours in common): the image, its nearest by this model, and by the other"
        part.cases.append(cases.of_places(look, title, shown, float(same[row])))
