from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.errors import AmclError, ModelNotFound
from amcl_serve.evaluation.embedder import Embedded
from amcl_serve.evaluation.progress import Cancelled
from amcl_serve.hosting.opening import load_models
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.jobs.embedder import EngineEmbedder
from amcl_serve.settings import Settings
from tests.amcl_serve.jobs.archives import drawing

IMAGES = [drawing(seed) for seed in range(11)]


@pytest.fixture
def settings(tiny_bundle: Path, tmp_path: Path) -> Settings:
    return Settings(
        model=str(tiny_bundle), data_dir=tmp_path, session_threads=1, decode_threads=1, request_deadline=0.5
    )


@pytest.fixture
def model(settings: Settings) -> LoadedModel:
    (found,) = load_models(settings)
    return found


def work(settings: Settings, model: LoadedModel, do: Callable[[EngineEmbedder, Registry], None]) -> None:
    """`do` in a thread, beside the event loop on which the engine answers."""

    async def both() -> None:
        await model.engine.start()
        registry = Registry(model)
        embedder = EngineEmbedder(model, registry, settings, asyncio.get_running_loop(), lambda: None)
        try:
            await asyncio.to_thread(do, embedder, registry)
        finally:
            await model.engine.stop()

    asyncio.run(both())


def test_images_are_embedded_in_order_with_their_errors(settings: Settings, model: LoadedModel) -> None:
    def do(embedder: EngineEmbedder, _: Registry) -> None:
        found = embedder.embed([*IMAGES, b"none"])
        assert isinstance(found.pop(), AmclError)
        for image, item in zip(IMAGES, found, strict=True):
            (alone,) = embedder.embed([image])
            assert isinstance(item, Embedded)
            assert isinstance(alone, Embedded)
            np.testing.assert_allclose(item.features, alone.features, rtol=1e-5)

    deepest: list[int] = []
    model.engine.on_batch = lambda *_: deepest.append(model.engine.depth)
    work(settings, model, do)
    assert max(deepest) <= 2 * settings.decode_threads


def test_scores_are_the_scorers(settings: Settings, model: LoadedModel) -> None:
    def do(embedder: EngineEmbedder, _: Registry) -> None:
        items = [item for item in embedder.embed(IMAGES) if isinstance(item, Embedded)]
        found = embedder.score(items, items[::-1])
        assert found.heads is not None
        assert found.temperature is not None
        assert found.heads.shape == found.temperature.shape == (11, 3)
        assert found.score[5] == pytest.approx(1, abs=1e-6)  # with itself
        assert found.probability is not None
        model.scorer.calibration = None
        assert embedder.score(items, items).probability is None

    work(settings, model, do)


def test_a_model_that_is_gone_ends_the_work(settings: Settings, model: LoadedModel) -> None:
    def do(embedder: EngineEmbedder, registry: Registry) -> None:
        registry._models = {}
        with pytest.raises(ModelNotFound, match="replaced or unloaded"):
            embedder.embed(IMAGES)

    work(settings, model, do)


def test_a_cancelled_job_does_not_wait_for_a_server_that_cannot_answer(settings: Settings, model: LoadedModel) -> None:
    """The engine is not started: each try is NotReady, and the job hears at once that nobody wants it."""

    async def both() -> None:
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls > 5:
                raise Cancelled

        embedder = EngineEmbedder(model, Registry(model), settings, asyncio.get_running_loop(), check)
        with pytest.raises(Cancelled):
            await asyncio.to_thread(embedder.embed, IMAGES)

    asyncio.run(both())
