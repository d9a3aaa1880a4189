"""Datasets whose vectors are stored and whose pictures are not: what can be said of vectors alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError, InvalidRequest
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.embedder import About, Embedded, Scored
from amcl_serve.metrics.checks import unit_rows


class Stored(Dataset, Protocol):
    """A dataset of vectors; `read` raises for each of its images."""

    about: About  # of the model that the vectors are of, as far as it is known

    def vectors(self) -> npt.NDArray[np.float32]:
        """[N, D], read now; NaN where one is gone."""


class StoredVectors:
    """`Embedder` of a Stored dataset: it embeds nothing, and scores pairs by the cosine of their vectors."""

    def __init__(self, dataset: Stored) -> None:
        self.about = dataset.about

    def embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        """InvalidRequest: there are no pictures."""
        raise InvalidRequest(f"{len(images)} images cannot be embedded: vectors alone are stored")

    def score(self, a: Sequence[Embedded], b: Sequence[Embedded]) -> Scored:
        """As `Embedder`."""
        one, other = (unit_rows(np.stack([each.features for each in side]).astype(np.float64)) for side in (a, b))
        cosine = (one * other).sum(axis=1)
        return Scored(cosine, cosine, None, None, None)


def stored(dataset: Dataset) -> Stored | None:
    """The dataset, where its vectors are stored and its pictures are not."""
    found: Stored | None = dataset if getattr(dataset, "vectors", None) is not None else None  # type: ignore[assignment]
    return found
