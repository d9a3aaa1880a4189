from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from amcl_serve.engine.engine import Engine
from amcl_serve.model.encoder import Encoder
from amcl_serve.settings import Settings
from tests import images
from tests.fakes import FakeEncoder

PHOTOS = [images.photo(seed, (20, 16)) for seed in range(40)]


@asynccontextmanager
async def running(encoder: Encoder, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(encoder, settings=Settings(**{"decode_threads": 2, "request_deadline": 10.0, **settings}))
    await engine.start()
    try:
        yield engine
    finally:
        if isinstance(encoder, FakeEncoder):
            encoder.gate.set()
        await engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)
