"""Stored vectors without their pictures: how they lie and, with labels, whether those of one class lie together."""

from __future__ import annotations

from dataclasses import dataclass

from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols.labelled import Labelled
from amcl_serve.evaluation.protocols.look import Look
from amcl_serve.evaluation.protocols.parts.approximate import approximate
from amcl_serve.evaluation.protocols.parts.geometry import geometry, near
from amcl_serve.evaluation.protocols.parts.health import vectors_health
from amcl_serve.evaluation.protocols.parts.part import Part

_PICTURES = "it needs pictures, and vectors alone are stored"
_UNLABELLED = "no labels were named"


@dataclass(frozen=True)
class Vectors(Labelled):
    """What vectors suffice for, and which parts of a report need pictures. Fields as `LabelFree`."""

    name = "vectors"
    title = "Stored vectors"

    def measure(self, look: Look, progress: Progress) -> list[list[Part]]:
        """The parts of the report, of the one model of the look. InvalidRequest for labels that say nothing."""
        (model,) = look.models
        progress("neighbours", 0, 1)
        places, nearest = near(look, model)
        progress("neighbours", 1, 1)
        if look.labels is not None:
            (classes,) = self.of_labels(look, progress)
        else:
            titles = {"knn": "Nearest neighbours", "linear_probe": "Linear probe", "retrieval": "Retrieval"}
            classes = [Part(name, title, missing=_UNLABELLED) for name, title in titles.items()]
        told = geometry(model, places, nearest, None, self.seed)
        parts = [
            vectors_health(look, places, nearest),
            *classes,
            told,
            approximate(look, model, look.labels, progress),
        ]
        for name, title in (
            ("pairs", "Pairs of views"),
            ("kinds", "Kinds of augmentation"),
            ("pair_calibration", "Calibration"),
            ("pair_uncertainty", "Uncertainty"),
        ):
            parts.append(Part(name, title, missing=_PICTURES))
        return [parts]
