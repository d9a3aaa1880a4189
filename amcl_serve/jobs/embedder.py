"""EngineEmbedder: embeds for a job through the engine that answers requests, and goes behind them.

A few images are under way at a time, and the next are sent when nobody waits, or after a while anyhow: a request finds
at most those few before it, and a job goes on, slowly, on a server that is always busy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet

import numpy as np

from amcl_serve.engine.submissions import EmbedResult
from amcl_serve.errors import AmclError, DeadlineExceeded, ModelNotFound, NotReady, Overloaded
from amcl_serve.evaluation.embedder import About, Embedded, Scored
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.encoder import Embeddings
from amcl_serve.settings import Settings

IN_TURN = 2  # images a worker that are under way at a time: one decodes, one is there when that is done
_PATIENCE = 0.25  # seconds for which requests go first
_LOOK = 0.002  # seconds between looks at whether they have gone
_AGAIN = 0.2  # seconds before what a full or faulty server refused is sent again
_PAIRS = 4096  # scored at a time

Check = Callable[[], None]


class EngineEmbedder:
    """Embeds and scores with one loaded model, from a thread that is not the event loop `loop`.

    `check` is called while it waits, and raises to end that. The model is looked up each time by its digest: a job
    keeps no model in memory that was unloaded, and ends with ModelNotFound.
    """

    def __init__(
        self, model: LoadedModel, models: Registry, settings: Settings, loop: asyncio.AbstractEventLoop, check: Check
    ) -> None:
        self.about = About(
            name=model.name,
            digest=model.bundle.digest,
            precision=model.encoder.precision,
            provider=model.encoder.provider,
            size=model.bundle.card.input.size,
            preprocessing=_in_words(model.bundle.card.input),
            through="the server's engine",
        )
        self._models = models
        self._loop = loop
        self._check = check
        self._at_a_time = max(1, min(IN_TURN * settings.decode_threads, settings.max_queue_items))

    def embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        """Each image, or why it is none, in order. Raises ModelNotFound, and what `check` raises."""
        found: list[Embedded | AmclError] = []
        for start in range(0, len(images), self._at_a_time):
            result = self._embed(images[start : start + self._at_a_time])
            found += [
                item if isinstance(item, AmclError) else Embedded(item.features, item.heads) for item in result.items
            ]
        return found

    def score(self, a: Sequence[Embedded], b: Sequence[Embedded]) -> Scored:
        """Row-wise pairs of `a` and `b` [P], at least one."""
        scorer = self._model().scorer
        parts = []
        for start in range(0, len(a), _PAIRS):
            self._check()
            stop = start + _PAIRS
            parts.append(scorer.score(_stack(a[start:stop]), _stack(b[start:stop])))
        has_heads = parts[0].head_similarity is not None
        calibrated = parts[0].probability is not None
        return Scored(
            features=np.concatenate([part.feature_similarity for part in parts]).astype(np.float64),
            score=np.concatenate([part.score for part in parts]).astype(np.float64),
            probability=_joined([part.probability for part in parts]) if calibrated else None,
            heads=_joined([part.head_similarity for part in parts]) if has_heads else None,
            temperature=_joined([part.temperature for part in parts]) if has_heads else None,
        )

    def _model(self) -> LoadedModel:
        model = self._models.with_digest(self.about.digest)
        if model is None:
            raise ModelNotFound(f"the model {self.about.name} was replaced or unloaded meanwhile; begin again")
        return model

    def _embed(self, images: Sequence[bytes]) -> EmbedResult:
        """One group, as often as it takes: a server that is full or sets up again is waited for."""
        while True:
            self._let_others_go_first()
            sent = asyncio.run_coroutine_threadsafe(self._model().engine.embed(images), self._loop)
            try:
                return self._waited(sent)
            except (Overloaded, NotReady, DeadlineExceeded):
                self._check()
                self._model()
                time.sleep(_AGAIN)

    def _waited(self, sent: Future[EmbedResult]) -> EmbedResult:
        while True:
            try:
                return sent.result(_AGAIN)
            except NotYet:
                if sent.done():
                    raise
                try:
                    self._check()
                except BaseException:
                    sent.cancel()
                    raise

    def _let_others_go_first(self) -> None:
        self._check()
        until = time.monotonic() + _PATIENCE
        while self._model().engine.depth and time.monotonic() < until:
            time.sleep(_LOOK)
        self._check()


def _stack(items: Sequence[Embedded]) -> Embeddings:
    return Embeddings(np.stack([item.features for item in items]), np.stack([item.heads for item in items]))


def _joined(parts: Sequence[object]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def _in_words(spec: InputSpec) -> str:
    shorter = round(spec.size / spec.crop)
    return f"shorter side to {shorter} pixels ({spec.interpolation}), {spec.size} of the centre"
