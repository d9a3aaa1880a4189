"""From what similarity on two points are duplicates: a cosine, or a probability by the collection's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from amcl_serve.errors import InvalidRequest
from amcl_serve.hosting.registry import Registry
from amcl_serve.metrics.calibration import probability, score_of
from amcl_serve.model.bundle import Calibration
from amcl_serve.vectors.types import CollectionInfo


@dataclass(frozen=True)
class Cut:
    """A cosine, and what says which probability a cosine is, where it came from one."""

    cosine: float
    calibration: Calibration | None = None

    def probability(self, cosines: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """That of each cosine."""
        if self.calibration is None:
            return None
        return probability(cosines, slope=self.calibration.slope, intercept=self.calibration.intercept)


def cut_at(wanted: float, collection: CollectionInfo, models: Registry) -> Cut:
    """Where the probability that two points of a collection show the same is `wanted`, between 0 and 1.

    InvalidRequest where nothing says what the collection's cosines are worth, or none of them is worth so much.
    """
    calibration = _calibration(collection, models)
    if not calibration.slope > 0:
        raise InvalidRequest("probability: the model's calibration does not rise with the cosine; cut by `cosine`")
    cosine = score_of(wanted, slope=calibration.slope, intercept=calibration.intercept)
    if cosine > 1:
        most = probability(1.0, slope=calibration.slope, intercept=calibration.intercept)
        raise InvalidRequest(
            f"probability: by the model's calibration equal images have {most:.6f}, and none has more; ask for less"
        )
    if cosine <= 0:
        raise InvalidRequest(
            f"probability: {wanted} is that of a cosine of {cosine:.3f}, and cuts are above 0; ask for more"
        )
    return Cut(cosine, calibration)


def _calibration(collection: CollectionInfo, models: Registry) -> Calibration:
    """The one that holds for the cosine of the collection's vectors."""
    name, instead = collection.name, "cut by `cosine` instead"
    if collection.model is None:
        raise InvalidRequest(
            f"probability: no model of this server has embedded the vectors of {name!r}, so none says what their "
            f"cosines are worth; {instead}"
        )
    model = models.with_digest(collection.model.digest)
    if model is None:
        raise InvalidRequest(
            f"probability: the model of {name!r}, {collection.model.name} ({collection.model.digest}), is not loaded; "
            f"load it, or {instead}"
        )
    card = model.bundle.card
    found = card.feature_calibration if card.num_heads else model.scorer.calibration
    if found is not None:
        return found
    if card.num_heads and card.calibration is not None:
        raise InvalidRequest(
            f"probability: the model {card.name} is calibrated for the score of its heads, which points are kept "
            f"without, and not for the cosine of its features; {instead}, or export the model anew"
        )
    raise InvalidRequest(f"probability: the model {card.name} is not calibrated; {instead}")
