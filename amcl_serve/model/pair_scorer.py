"""PairScorer: how alike two images are, head by head, with the pair's own temperatures.

Of C heads with cosine s_c and temperature τ_c:

    score       = Σ_c w_c s_c / Σ_c w_c          in [-1, 1]; the card says which weights (`metrics.head_score`)
    uncertainty = C / Σ_c 1/τ_c                  the harmonic mean of the temperatures, which are variances
    probability = 1 / (1 + exp(-(slope · score + intercept)))

Of a model without heads the score is the cosine of the features, and there is neither temperature nor uncertainty.
How far the harmonic mean deserves its name is on each card: `pair_aurc_temperature` beside `pair_aurc_margin`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from amcl_serve.metrics.calibration import probability
from amcl_serve.metrics.head_score import head_score
from amcl_serve.model.bundle import TEMPERATURE_FILE, Bundle, Calibration, ModelCard
from amcl_serve.model.encoder import Embeddings, unit_norm
from amcl_serve.model.sessions import FLOAT, check_graph, open_session

Floats = npt.NDArray[np.float32]

_CHUNK = 4096  # pairs whose heads are laid out at a time: 2 x 6 MiB at C = 3, d' = 128


@dataclass(frozen=True)
class PairScores:
    """Scores of N pairs; float32 except `same`.

    `uncertainty`, the temperature of the pair, is None where temperatures are constant; `probability` and `same` are
    None without a calibration; what is of heads is None where the model has none.
    """

    feature_similarity: Floats  # [N], cosine
    head_similarity: Floats | None  # [N, C], cosine
    temperature: Floats | None  # [N, C]
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
    """Scores pairs with a bundle's temperature.onnx and calibration; may be called from any thread.

    `session` is None for a model without heads. `calibration` is the card's until another is set in its place: what is
    scored from then on follows that.
    """

    def __init__(self, card: ModelCard, session: ort.InferenceSession | None) -> None:
        self._card = card
        self._session = session
        self.calibration: Calibration | None = card.calibration

    @classmethod
    def load(cls, bundle: Bundle) -> PairScorer:
        """Open temperature.onnx, if there are heads, on one CPU thread; BundleError if it does not fit the card."""
        card = bundle.card
        if not card.num_heads:
            return cls(card, None)
        session = open_session(bundle.temperature_path, threads=1)
        heads = (FLOAT, (card.num_heads, card.head_dim))
        expected = {"heads_a": heads, "heads_b": heads, "temperature": (FLOAT, (card.num_heads,))}
        check_graph(f"bundle {card.name}, {TEMPERATURE_FILE}", session, expected)
        return cls(card, session)

    def score(self, a: Embeddings, b: Embeddings) -> PairScores:
        """Score row i of `a` against row i of `b`; ValueError if they differ in length."""
        if len(a) != len(b):
            raise ValueError(f"pairs need as many images on each side; there are {len(a)} and {len(b)}")
        features = _cosine(a.features, b.features).astype(np.float32)
        if self._session is None:
            return self._scores(features, features)
        similarity = _cosine(a.heads, b.heads)
        temperature = self._temperature(self._session, a.heads, b.heads)
        precision = 1 / temperature.astype(np.float64)  # of each head, in the statistical sense
        score = self._combined(similarity, temperature).astype(np.float32)
        adaptive = self._card.temperature is not None and self._card.temperature.kind == "adaptive"
        uncertainty = (precision.shape[1] / precision.sum(axis=1)).astype(np.float32) if adaptive else None
        return self._scores(features, score, similarity.astype(np.float32), temperature, uncertainty)

    def _scores(
        self,
        features: Floats,
        score: Floats,
        similarity: Floats | None = None,
        temperature: Floats | None = None,
        uncertainty: Floats | None = None,
    ) -> PairScores:
        """With what the calibration says of the score."""
        calibration = self.calibration  # once: another thread may set it
        chance = _probability(score, calibration)
        return PairScores(
            feature_similarity=features,
            head_similarity=similarity,
            temperature=temperature,
            score=score,
            uncertainty=uncertainty,
            probability=chance,
            same=None if chance is None or calibration is None else chance >= calibration.threshold,
        )

    def cross(self, a: Embeddings, b: Embeddings) -> CrossScores:
        """Score every row of `a` against every row of `b`, in chunks, so that memory is bounded by the matrices."""
        features = np.clip(unit_norm(a.features) @ unit_norm(b.features).T, -1, 1).astype(np.float32)
        calibration = self.calibration
        if self._session is None:
            return CrossScores(
                feature_similarity=features, score=features, probability=_probability(features, calibration)
            )
        score = np.empty(len(a) * len(b), np.float32)
        for start in range(0, len(score), _CHUNK):
            stop = min(start + _CHUNK, len(score))
            i, j = np.divmod(np.arange(start, stop), len(b))
            heads_a, heads_b = a.heads[i], b.heads[j]
            similarity = _cosine(heads_a, heads_b)
            weighs = self._card.pair_score.weighting == "inverse_variance"
            temperature = self._temperature(self._session, heads_a, heads_b) if weighs else np.ones_like(similarity)
            score[start:stop] = self._combined(similarity, temperature)
        matrix = score.reshape(len(a), len(b))
        return CrossScores(feature_similarity=features, score=matrix, probability=_probability(matrix, calibration))

    def _combined(
        self, similarity: npt.NDArray[np.float64], temperature: npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.float64]:
        rule = self._card.pair_score
        return head_score(similarity, temperature, rule.weighting, rule.weights)

    @staticmethod
    def _temperature(session: ort.InferenceSession, heads_a: Floats, heads_b: Floats) -> Floats:
        """τ float32 [N, C] of each pair and head."""
        found: Floats = session.run(["temperature"], {"heads_a": heads_a, "heads_b": heads_b})[0]
        return found


def _probability(score: Floats, calibration: Calibration | None) -> Floats | None:
    if calibration is None:
        return None
    return probability(score, slope=calibration.slope, intercept=calibration.intercept).astype(np.float32)


def _cosine(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """Cosine along the last axis, [..., K] -> [...]."""
    cosine: npt.NDArray[np.float64] = (unit_norm(a) * unit_norm(b)).sum(axis=-1)
    return cosine.clip(-1, 1)
