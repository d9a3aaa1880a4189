"""The images themselves: unreadable, twice there, leaking from bank to queries, or odd to look at."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from amcl_serve.evaluation.protocols import cases
from amcl_serve.evaluation.protocols.look import Look, Model
from amcl_serve.evaluation.protocols.parts.part import Part
from amcl_serve.evaluation.protocols.quality import BLURRY, DARK, FLAT, GREY, LIGHT, LONG, ODD, SIDE, oddities
from amcl_serve.evaluation.result import Figure, Table
from amcl_serve.metrics.checks import unit_rows
from amcl_serve.metrics.neighbours import Neighbours

NEAR = 0.98  # cosine of features
_LISTED = 50
_TOGETHER = 3  # copies shown of a file
_BLOCK = 1024

_SAID = {
    "dark": f"mean luma under {DARK:g}",
    "light": f"mean luma over {LIGHT:g}",
    "blurry": f"variance of the Laplacian under {BLURRY:g}, at {SIDE} pixels",
    "low information": f"the luma's histogram has less than {FLAT:g} bits of 8: flat pictures, drawings",
    "long": f"one side over {LONG:g} times the other",
    "odd size": f"an area over {ODD:g} times the median, or under its tenth",
    "greyscale": f"channels differ by less than {GREY:g} levels of 255; not counted where half of the images are so",
}


def health(look: Look, model: Model, places: np.ndarray, found: Neighbours) -> Part:
    """Of all images; near duplicates are looked for among those at `places`, whose neighbours are `found`."""
    part = Part("health", "The images")
    count = len(look)
    part.items.append(
        _count("unreadable", "Unreadable", len(look.problems), look.asked, "could not be read or embedded")
    )
    if look.problems:
        rows = [list(each) for each in look.problems[:_LISTED]]
        part.tables.append(Table(_listed("Unreadable", len(look.problems)), ("image", "why"), rows))
    groups = defaultdict(list)
    for place, digest in enumerate(look.digests):
        groups[digest].append(place)
    twice = [group for group in groups.values() if len(group) > 1]
    copies = sum(len(group) - 1 for group in twice)
    part.items.append(
        _count("exact_duplicates", "Exact duplicates", copies, count, "copies of another file, by sha256")
    )
    if twice:
        rows = [[", ".join(look.name(place) for place in group)] for group in twice[:_LISTED]]
        part.tables.append(Table(_listed("Exact duplicates", len(twice)), ("the same file",), rows))
        part.cases += [cases.of_places(look, "the same file", group[:_TOGETHER]) for group in twice[: cases.SHOWN // 2]]
    _near(part, look, places, found)
    _leaks(part, look, model)
    for word, those in oddities(look.quality).items():
        name = word.replace(" ", "_")
        part.items.append(_count(name, word.capitalize(), len(those), count, _SAID[word]))
        part.cases += [cases.of_places(look, word, [place]) for place in those[: cases.SHOWN // 2]]
    return part


def vectors_health(look: Look, places: np.ndarray, found: Neighbours) -> Part:
    """Of vectors alone: those that are equal, and those that are nearly so."""
    part = Part("health", "The vectors")
    said = "points whose vectors were gone or are no numbers"
    part.items.append(_count("unreadable", "Unreadable", len(look.problems), look.asked, said))
    copies = len(look) - len(set(look.digests))
    part.items.append(
        _count("exact_duplicates", "Exact duplicates", copies, len(look), "vectors that are another's too")
    )
    _near(part, look, places, found)
    part.notes.append("What is dark, blurry or of an odd size, and which files are copies, needs pictures.")
    return part


def _near(part: Part, look: Look, places: np.ndarray, found: Neighbours) -> None:
    i, j = np.nonzero(found.cosine >= NEAR)
    pairs = {
        (int(min(a, b)), int(max(a, b))): float(cosine)
        for a, b, cosine in zip(places[i], places[found.index[i, j]], found.cosine[i, j], strict=True)
        if look.digests[int(a)] != look.digests[int(b)]
    }
    said = (
        f"pairs that are not equal with a cosine of features of {NEAR:g} or more, among the "
        f"{found.index.shape[1]} nearest of each; what that means depends on the model: look at them"
    )
    part.items.append(_count("near_duplicates", "Near duplicates", len(pairs), len(places), said))
    for (a, b), cosine in sorted(pairs.items(), key=lambda each: -each[1])[: cases.SHOWN]:
        part.cases.append(cases.of_places(look, "near duplicates", [a, b], cosine))


def _leaks(part: Part, look: Look, model: Model) -> None:
    """Queries that are in the bank too: what they are asked is known."""
    queries = look.queries
    if queries is None or queries.all() or not queries.any():
        return
    asking, bank = np.flatnonzero(queries), np.flatnonzero(~queries)
    known = {look.digests[int(place)]: int(place) for place in bank}
    exact = [int(place) for place in asking if look.digests[int(place)] in known]
    bank_MD = unit_rows(model.features[bank])
    nearest, cosine = np.empty(len(asking), np.int64), np.empty(len(asking), np.float32)
    for start in range(0, len(asking), _BLOCK):
        sim = unit_rows(model.features[asking[start : start + _BLOCK]]) @ bank_MD.T
        nearest[start : start + _BLOCK], cosine[start : start + _BLOCK] = sim.argmax(axis=1), sim.max(axis=1)
    close = [int(row) for row in np.argsort(-cosine, kind="stable") if cosine[row] >= NEAR]
    close = [row for row in close if look.digests[int(asking[row])] not in known]
    part.items += [
        _count("leaks_exact", "Leaks, exact", len(exact), len(asking), "queries whose file is in the bank"),
        _count(
            "leaks_near", "Leaks, near", len(close), len(asking), f"other queries with a cosine of {NEAR:g} to the bank"
        ),
    ]
    part.cases += [
        cases.of_places(look, "query that is in the bank", [place, known[look.digests[place]]])
        for place in exact[: cases.SHOWN // 2]
    ]
    for row in close[: cases.SHOWN]:
        both = [int(asking[row]), int(bank[nearest[row]])]
        part.cases.append(cases.of_places(look, "query and bank alike", both, float(cosine[row])))


def _count(name: str, title: str, value: int, n: int, said: str) -> Figure:
    return Figure(name, title, float(value), n, f"images: {said}" if "pairs" not in said else said, better="lower")


def _listed(title: str, count: int) -> str:
    return title if count <= _LISTED else f"{title}, the first {_LISTED} of {count}"
