"""What the runner asks of whatever embeds: a model in this process, one behind a server, a network in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class About:
    """The model that embeds, as a report names it."""

    name: str
    digest: str  # of the bundle; empty where there is none
    precision: str
    provider: str
    size: int  # pixels a side of what the network takes
    preprocessing: str  # in words
    through: str  # "in process", "over HTTP", ...


@dataclass(frozen=True)
class Embedded:
    """One image: `features` float32 [D], unnormalised, and `heads` float32 [C, d'], each of norm 1; C may be 0."""

    features: Floats
    heads: Floats


@dataclass(frozen=True)
class Scored:
    """P pairs: cosine of features [P], the pair score [P], its probability [P] or None where the model is not
    calibrated; cosine of each head [P, C] and its temperature [P, C], or None where there are no heads.
    """

    features: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64] | None
    heads: npt.NDArray[np.float64] | None
    temperature: npt.NDArray[np.float64] | None


class Embedder(Protocol):
    """Embeds images as somebody would be answered."""

    about: About

    def embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        """Each image, or why it is none, in order. Raises AmclError where the embedder itself fails."""

    def score(self, a: Sequence[Embedded], b: Sequence[Embedded]) -> Scored:
        """Row-wise pairs of `a` and `b` [P]."""
