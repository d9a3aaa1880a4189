"""PairScorer: how alike two images are, head by head, with the pair's own temperatures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.bundle import Bundle
from amcl_serve.encoder import Embeddings

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PairScores:
    """Scores of N pairs; float32 except `same`.

    `uncertainty` is None for a model of constant temperature, `probability` and `same` without a calibration.
    """

    feature_similarity: Floats  # [N], cosine
    head_similarity: Floats  # [N, C], cosine
    temperature: Floats  # [N, C]
    score: Floats  # [N], in [-1, 1]
    uncertainty: Floats | None  # [N]
    probability: Floats | None  # [N]
    same: npt.NDArray[np.bool_] | None  # [N]


@dataclass(frozen=True)
class CrossScores:
    """Scores of every row of one set against every row of another; float32 [Na, Nb] each."""

    feature_similarity: Floats
    score: Floats
    probability: Floats | None


class PairScorer:
    """Scores pairs with a bundle's temperature.onnx and calibration."""

    @classmethod
    def load(cls, bundle: Bundle) -> PairScorer:
        """Open temperature.onnx on one CPU thread; BundleError if it does not fit the card."""
        raise NotImplementedError

    def score(self, a: Embeddings, b: Embeddings) -> PairScores:
        """Score row i of `a` against row i of `b`; ValueError if they differ in length."""
        raise NotImplementedError

    def cross(self, a: Embeddings, b: Embeddings) -> CrossScores:
        """Score every row of `a` against every row of `b`, in chunks, so that memory is bounded by the matrices."""
        raise NotImplementedError
