"""With pairs: whether the score tells those that show the same thing from those that do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import InvalidRequest
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols import cases
from amcl_serve.evaluation.protocols.look import Look
from amcl_serve.evaluation.protocols.pair_sets import PairSet, score
from amcl_serve.evaluation.protocols.parts.certainty import calibration, uncertainty
from amcl_serve.evaluation.protocols.parts.geometry import geometry, near
from amcl_serve.evaluation.protocols.parts.health import health
from amcl_serve.evaluation.protocols.parts.pairs import pairs
from amcl_serve.evaluation.protocols.parts.part import Part
from amcl_serve.metrics.bootstrap import Clusters, Products, Resampling

LEAST = 8  # images
LEAST_PAIRS = 8  # of each kind in each half
_CLUSTERS, _LARGEST = 30, 0.1  # so many groups of pairs, none of a larger share, can be drawn as wholes

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Verification:
    """The pairs that somebody gave, half to choose thresholds and calibration, half to report.

    All images of the dataset are looked at: `limit` is 0.
    """

    seed: int = 0

    name = "verification"
    title = "Pairs that were given"
    least = LEAST
    limit = 0

    def measure(self, look: Look, progress: Progress) -> list[list[Part]]:
        """The parts of the report, by model of the look. InvalidRequest where there are too few pairs."""
        given = look.dataset.pairs
        if given is None:
            raise InvalidRequest(f"{look.dataset.name} has no pairs")
        place_of = np.full(len(look.dataset.names), -1)
        place_of[look.indices] = np.arange(len(look))
        first, second = place_of[given.first], place_of[given.second]
        kept = (first >= 0) & (second >= 0)
        first, second, same = first[kept], second[kept], given.same[kept]
        group = groups(len(look), first, second)
        halves, apart = _halves(group[first], same, self.seed)
        for half in halves:
            for kind, count in (("same", int(same[half].sum())), ("different", int((~same[half]).sum()))):
                if count < LEAST_PAIRS:
                    raise InvalidRequest(
                        f"{look.dataset.name}: half of the pairs choose a threshold and half are reported, and each "
                        f"half needs {LEAST_PAIRS} of each kind; one has {count} that are {kind}"
                    )
        out = []
        for number in range(len(look.models)):
            fit, report = (
                _pair_set(look, number, first[half], second[half], same[half], group, progress) for half in halves
            )
            positives = int(report.same.sum())
            protocol = f"{positives} pairs given as the same and {len(report) - positives} as different"
            progress("neighbours", 0, 1)
            places, nearest = near(look, look.models[number])
            progress("neighbours", 1, 1)
            told = pairs(fit, report, name="pairs", title="Pairs", prefix="pair", protocol=protocol)
            if not kept.all():
                told.notes.append(f"{int((~kept).sum())} pairs are left out: one of their images could not be read.")
            if not apart:
                told.notes.append("The two halves share images: nearly all pairs hang together by them.")
            out.append(
                [
                    health(look, look.models[number], places, nearest),
                    told,
                    calibration(fit, report, prefix="pair", protocol=protocol),
                    uncertainty(fit, report, prefix="pair", protocol=protocol),
                    geometry(look.models[number], places, nearest, None, self.seed),
                ]
            )
        return out


def groups(count: int, first: Numbers, second: Numbers) -> Numbers:
    """The connected component of each of `count` images, which pairs connect, by its lowest image."""
    root = np.arange(count)
    while True:
        low, high = np.minimum(root[first], root[second]), np.maximum(root[first], root[second])
        joined = low != high
        if not joined.any():
            return root
        np.minimum.at(root, high[joined], low[joined])
        while not np.array_equal(root, root[root]):
            root = root[root]


def _halves(group: Numbers, same: npt.NDArray[np.bool_], seed: int) -> tuple[tuple[Numbers, Numbers], bool]:
    """Two halves of the pairs, by number, and whether they share no image: groups stay whole where none is large."""
    rng = np.random.default_rng(seed)
    names, which, count = np.unique(group, return_inverse=True, return_counts=True)
    if count.size and count.max() <= len(group) / 4:
        # The largest first, each to the half that has fewer pairs; equally large ones in a random order.
        order = rng.permutation(len(names))
        order = order[np.argsort(-count[order], kind="stable")]
        side, sizes = np.zeros(len(names), np.int64), [0, 0]
        for each in order:
            side[each] = int(sizes[1] < sizes[0])
            sizes[side[each]] += int(count[each])
        chosen = side[which] == 0
        return (np.flatnonzero(chosen), np.flatnonzero(~chosen)), True
    chosen = np.zeros(len(group), bool)
    for kind in (True, False):
        those = rng.permutation(np.flatnonzero(same == kind))
        chosen[those[: len(those) // 2]] = True
    return (np.flatnonzero(chosen), np.flatnonzero(~chosen)), False


def _pair_set(
    look: Look,
    number: int,
    first: Numbers,
    second: Numbers,
    same: npt.NDArray[np.bool_],
    group: Numbers,
    progress: Progress,
) -> PairSet:
    model = look.models[number]
    scored = score(model.embedder, [model.row(int(i)) for i in first], [model.row(int(i)) for i in second], progress)

    def pictures(pair: int) -> tuple[list[str], list[bytes]]:
        both = [int(first[pair]), int(second[pair])]
        return [look.name(place) for place in both], [cases.picture(look, place) for place in both]

    resampling, drawn = _resampling(first, second, group)
    return PairSet(scored, same, np.arange(len(same)), len(same), resampling, drawn, pictures)


def _resampling(first: Numbers, second: Numbers, group: Numbers) -> tuple[Resampling, str]:
    _, which, count = np.unique(group[first], return_inverse=True, return_counts=True)
    if len(count) >= _CLUSTERS and count.max() <= _LARGEST * len(first):
        alone = count.max() == 1
        return Clusters(which), "pairs, which share no image" if alone else "groups of pairs that share images"
    _, both = np.unique(np.concatenate([first, second]), return_inverse=True)
    return Products(both[: len(first)], both[len(first) :]), "images, a pair as often as both of its; on the wide side"
