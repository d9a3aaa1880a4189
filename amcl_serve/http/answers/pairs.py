"""Scores of an image with stored ones as pairs, head by head: what `rerank` orders by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.engine.submissions import Embedded, stack
from amcl_serve.model.encoder import Embeddings
from amcl_serve.model.pair_scorer import PairScorer
from amcl_serve.vectors.types import Hit, Vectors


@dataclass(frozen=True)
class Pairing:
    """An image, and what scores it with others of the same model."""

    scorer: PairScorer
    image: Embedded

    def scores(self, hits: Sequence[Hit], heads: Sequence[Vectors]) -> npt.NDArray[np.float32]:
        """The score of the pair with each point, of which there is one at least, given its heads [C · d'] -> [N]."""
        of_points = np.stack(heads).reshape(len(heads), *self.image.heads.shape)
        others = Embeddings(np.stack([hit.record.vector for hit in hits]), of_points)
        scores: npt.NDArray[np.float32] = self.scorer.cross(stack([self.image]), others).score[0]
        return scores
