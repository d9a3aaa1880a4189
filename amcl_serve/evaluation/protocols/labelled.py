"""With labels: what `LabelFree` says, and whether images of one class lie together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import InvalidRequest
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols import cases
from amcl_serve.evaluation.protocols.label_free import LabelFree
from amcl_serve.evaluation.protocols.look import Look
from amcl_serve.evaluation.protocols.pair_sets import PairSet, ring
from amcl_serve.evaluation.protocols.parts.classes import Labels, clusters, neighbours_by_class, probe, ranked
from amcl_serve.evaluation.protocols.parts.pairs import pairs
from amcl_serve.evaluation.protocols.parts.part import Part

_LEAST_COUPLES = 16  # for pairs of a class

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labelled(LabelFree):
    """What labels say of a model: pairs of a class, nearest neighbours, a linear probe, retrieval, clusters.

    Where the dataset holds images out, those ask a bank of the others; else a random half of each class is the bank,
    and the rest ask it. Fields as `LabelFree`.
    """

    name = "labelled"
    title = "With labels"

    def measure(self, look: Look, progress: Progress) -> list[list[Part]]:
        """The parts of the report, by model of the look. InvalidRequest for labels that say nothing."""
        labels = self.of_labels(look, progress)
        out = super().measure(look, progress)
        for parts, found in zip(out, labels, strict=True):
            parts[2:2] = found
        return out

    def of_labels(self, look: Look, progress: Progress) -> list[list[Part]]:
        """The parts that labels add, by model of the look. InvalidRequest for labels that say nothing."""
        labels = look.labels
        if labels is None:
            raise InvalidRequest(f"{look.dataset.name} has no labels: put each class into a folder of its own")
        bank, asking = halves(look, labels, self.seed)
        if not np.isin(labels[asking], labels[bank]).any() or len(np.unique(labels[bank])) < 2:
            raise InvalidRequest(
                f"{look.dataset.name}: two or more classes are needed, with images of one both in the bank and among "
                f"the images that ask it; there are {len(np.unique(labels))} classes of {len(look)} images"
            )
        out = []
        couples = _couples(labels, look.held_out, self.images, self.seed)
        for number, model in enumerate(look.models):
            shown = partial(cases.of_places, look)
            given = Labels(
                model.features, labels, bank, asking, self.seed, held_out=look.queries is not None, shown=shown
            )
            progress("classes", 0, 4)
            found = [neighbours_by_class(given)]
            progress("classes", 1, 4)
            found.append(probe(given))
            progress("classes", 2, 4)
            found.append(ranked(given))
            progress("classes", 3, 4)
            found.append(clusters(given, look.held_out))
            progress("classes", 4, 4)
            out.append([*found, self._class_pairs(look, number, labels, couples, progress)])
        return out

    def _class_pairs(
        self, look: Look, number: int, labels: npt.NDArray[Any], couples: Numbers, progress: Progress
    ) -> Part:
        title = "Pairs of a class"
        if len(couples) < _LEAST_COUPLES:
            few = f"{len(couples)} pairs of two images of a class can be made, {_LEAST_COUPLES} are needed"
            return Part("class_pairs", title, missing=few)
        half = len(couples) // 2
        fit, report = (
            self._ring(look, number, labels, part, progress) for part in (couples[:half], couples[half : 2 * half])
        )
        if fit.same.all() or report.same.all():
            return Part("class_pairs", title, missing="no pairs of two classes can be made")
        positives = int(report.same.sum())
        protocol = (
            f"{positives} positive pairs (two images of a class, no image in two of them) and "
            f"{len(report) - positives} negative ones (of two classes), unaugmented"
        )
        return pairs(fit, report, name="class_pairs", title=title, prefix="class_pair", protocol=protocol)

    @staticmethod
    def _ring(look: Look, number: int, labels: npt.NDArray[Any], couples: Numbers, progress: Progress) -> PairSet:
        model = look.models[number]

        def pictures(one: int, other: int) -> tuple[list[str], list[bytes]]:
            both = [int(couples[one, 0]), int(couples[other, 1])]
            return [look.name(place) for place in both], [cases.picture(look, place) for place in both]

        first, second = ([model.row(int(place)) for place in couples[:, side]] for side in (0, 1))
        return ring(
            model.embedder,
            first,
            second,
            progress,
            names=labels[couples[:, 0]],
            drawn="couples of images, blocks of neighbours in the order in which negative pairs are made",
            pictures=pictures,
            stage="pairs of a class",
        )


def halves(look: Look, labels: npt.NDArray[Any], seed: int) -> tuple[Numbers, Numbers]:
    """The places of the bank and of the images that ask it, both ascending.

    Without a split of the dataset's own, half of each class by chance: an order of names may alternate between classes.
    Of an odd number, the bank and the queries have the one more in turn.
    """
    queries = look.queries
    if queries is not None and queries.any() and not queries.all():
        return np.flatnonzero(~queries), np.flatnonzero(queries)
    order = np.random.default_rng(seed).permutation(len(look))
    dealt = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within each
    return np.sort(dealt[::2]), np.sort(dealt[1::2])


def _couples(labels: npt.NDArray[Any], places: Numbers, most: int, seed: int) -> Numbers:
    """Up to `most` disjoint couples [P, 2] of places of one class, in a random order."""
    rng = np.random.default_rng(seed)
    found = []
    for name in np.unique(labels[places]):
        members = rng.permutation(places[labels[places] == name])
        found.append(members[: len(members) // 2 * 2].reshape(-1, 2))
    return rng.permutation(np.concatenate(found))[:most]
