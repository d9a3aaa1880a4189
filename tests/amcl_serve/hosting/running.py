from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from amcl_serve.engine.submissions import Embedded
from amcl_serve.hosting.lifecycle import Loader
from amcl_serve.hosting.opening import load_models
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture


@asynccontextmanager
async def running(models: Path, *names: str, **settings: Any) -> AsyncIterator[Loader]:
    """A loader with these models up."""
    chosen = Settings(model=names, model_dir=models, session_threads=1, decode_threads=1, **settings)
    loader = Loader(Registry(*load_models(chosen)), chosen, watch=lambda _: None)
    try:
        await loader.start()
        yield loader
    finally:
        await loader.stop()


async def features(model: LoadedModel) -> list[float]:
    (item,) = (await model.engine.embed([picture(1)])).items
    assert isinstance(item, Embedded)
    return item.features.tolist()
