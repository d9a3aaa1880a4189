"""Without labels: two augmented views of an image against views of two images, and how features lie."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols import cases
from amcl_serve.evaluation.protocols.look import Look
from amcl_serve.evaluation.protocols.pair_sets import PairSet, ring
from amcl_serve.evaluation.protocols.parts.approximate import approximate
from amcl_serve.evaluation.protocols.parts.certainty import calibration, uncertainty
from amcl_serve.evaluation.protocols.parts.geometry import geometry, near
from amcl_serve.evaluation.protocols.parts.health import health
from amcl_serve.evaluation.protocols.parts.kinds import kinds
from amcl_serve.evaluation.protocols.parts.pairs import pairs
from amcl_serve.evaluation.protocols.parts.part import Part
from amcl_serve.evaluation.protocols.view_sets import Views, embed_views, order, view_images
from amcl_serve.evaluation.views import KINDS

LEAST = 16  # images


@dataclass(frozen=True)
class LabelFree:
    """What can be said of a model on images that nobody labelled.

    `images`: how many are augmented, half to choose thresholds and calibration, half to report; `each_kind`: how many
    of these under each kind by itself. `limit`: images of the dataset that are looked at, 0 for all.
    """

    images: int = 2000
    each_kind: int = 500
    seed: int = 0
    limit: int = 0

    name = "label_free"
    title = "Without labels"
    least = LEAST

    def measure(self, look: Look, progress: Progress) -> list[list[Part]]:
        """The parts of the report, by model of the look."""
        held = look.held_out
        size = look.models[0].embedder.about.size
        shuffled = [int(held[number]) for number in order(len(held), size, self.seed)][: self.images]
        half = len(shuffled) // 2
        fit, report = shuffled[:half], shuffled[half : 2 * half]
        wanted = {KINDS: fit + report} | dict.fromkeys(KINDS, report[: self.each_kind])
        begun = perf_counter()
        found = embed_views(look, wanted, self.seed, progress)
        look.seconds["views"] = perf_counter() - begun
        every = found[KINDS]
        told = np.isin(every.places, fit)
        halves = (np.flatnonzero(told), np.flatnonzero(~told))
        if min(len(half) for half in halves) < LEAST // 2 or any(len(each.places) < 2 for each in found.values()):
            raise InvalidRequest(
                f"{look.dataset.name}: views of {len(every.places)} of {len(shuffled)} images could be embedded, which "
                "is too few to judge by"
            )
        out = []
        for number, model in enumerate(look.models):
            fitted, reported = (self._pairs(look, number, every, rows, progress) for rows in halves)
            by_kind = {kind: self._pairs(look, number, found[kind], None, progress) for kind in KINDS}
            protocol = (
                f"{reported.units} positive pairs (two {KINDS} views of one image) and as many negative ones (views of "
                f"two images), views of {size} pixels"
            )
            progress("neighbours", 0, 1)
            places, nearest = near(look, model)
            progress("neighbours", 1, 1)
            told_of = {"prefix": "pair", "protocol": protocol}
            out.append(
                [
                    health(look, model, places, nearest),
                    pairs(fitted, reported, name="pairs", title="Pairs of views", **told_of),
                    kinds(by_kind),
                    calibration(fitted, reported, **told_of),
                    uncertainty(fitted, reported, **told_of),
                    geometry(model, places, nearest, reported, self.seed),
                    approximate(look, model, look.labels, progress),
                ]
            )
        return out

    def _pairs(self, look: Look, number: int, found: Views, rows: np.ndarray | None, progress: Progress) -> PairSet:
        chosen = np.arange(len(found.places)) if rows is None else rows
        first, second = ([side[number][int(row)] for row in chosen] for side in (found.first, found.second))
        embedder = look.models[number].embedder

        def pictures(one: int, other: int) -> tuple[list[str], list[bytes]]:
            places = [int(found.places[chosen[row]]) for row in (one, other)]
            made = [view_images(look, found.preset, place, embedder.about.size, self.seed) for place in places]
            return [look.name(place) for place in places], [
                cases.of_pixels(made[0][0]),
                cases.of_pixels(made[1][1]),
            ]

        return ring(
            embedder,
            first,
            second,
            progress,
            drawn="images, blocks of neighbours in the order in which negative pairs are made",
            pictures=pictures,
            stage=f"pairs {found.preset}",
        )
