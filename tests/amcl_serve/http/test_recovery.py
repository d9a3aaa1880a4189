"""A stage that dies or a session that fails for good: readiness tells the truth within a second, and the service
returns by itself once the cause is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.engine.engine import Engine
from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import AmclError
from amcl_serve.http.app import create_app
from amcl_serve.model import pixels as decoding
from amcl_serve.settings import Settings
from tests.fakes import FakeEncoder
from tests.images import photo

PHOTOS = [photo(seed, (20, 16)) for seed in range(4)]
SOON = 1.0  # seconds until readiness tells the truth
RETURN = 10.0  # seconds until the service is back
DEADLINE = 8.0  # of a request: an answer that only comes by it comes too late


async def works(engine: Engine, patience: float = 3.0) -> bool:
    """Whether images are embedded; a request that is left hanging fails the test."""
    try:
        async with asyncio.timeout(patience):
            return all(isinstance(item, Embedded) for item in (await engine.embed(PHOTOS)).items)
    except AmclError:
        return False


async def recovers(engine: Engine) -> None:
    """The engine embeds again within RETURN, and is never called healthy after SOON while it does not."""
    start = time.monotonic()
    while True:
        worked = await works(engine)
        passed = time.monotonic() - start
        if worked and engine.healthy:
            return
        assert worked or passed < SOON or not engine.healthy, "called healthy, and embeds nothing"
        assert passed < RETURN, "the service did not return"
        await asyncio.sleep(0.02)


def scenario(steps: Callable[[Engine, FakeEncoder], Awaitable[None]]) -> None:
    """Run `steps` on an engine that has just embedded something."""

    async def main() -> None:
        encoder = FakeEncoder()
        engine = Engine(encoder, settings=Settings(decode_threads=2, request_deadline=DEADLINE))
        await engine.start()
        try:
            assert await works(engine)
            await steps(engine, encoder)
        finally:
            await engine.stop()

    asyncio.run(main())


async def falls(engine: Engine) -> None:
    """Under traffic, readiness falls within SOON."""
    end = time.monotonic() + SOON
    while engine.healthy and time.monotonic() < end:
        assert not await works(engine)
        await asyncio.sleep(0.01)
    assert not engine.healthy


def test_a_poisoned_session_turns_readiness_off() -> None:
    async def steps(engine: Engine, encoder: FakeEncoder) -> None:
        encoder.failure = RuntimeError("poisoned")
        await falls(engine)

    scenario(steps)


def test_a_session_that_works_again_is_used_again() -> None:
    async def steps(engine: Engine, encoder: FakeEncoder) -> None:
        encoder.failure = RuntimeError("poisoned")
        await falls(engine)
        encoder.failure = None
        await recovers(engine)

    scenario(steps)


def test_one_failed_batch_is_no_reason_to_send_traffic_away() -> None:
    async def steps(engine: Engine, encoder: FakeEncoder) -> None:
        encoder.failure = RuntimeError("once")
        assert not await works(engine)
        encoder.failure = None
        assert engine.healthy
        assert await works(engine)

    scenario(steps)


@pytest.mark.parametrize("death", [SystemExit, MemoryError])
def test_an_inference_thread_that_dies_is_replaced(death: type[BaseException]) -> None:
    async def steps(engine: Engine, encoder: FakeEncoder) -> None:
        encoder.failure = death()
        assert not await works(engine)
        encoder.failure = None
        await recovers(engine)

    scenario(steps)


@pytest.mark.parametrize("death", [RuntimeError, MemoryError, SystemExit])
def test_a_decoder_that_breaks_fails_its_image_at_once_and_no_other(
    death: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = decoding.decode

    def breaks(data: bytes, *args: Any, **options: Any) -> Any:
        if data == PHOTOS[1]:
            raise death
        return decode(data, *args, **options)

    async def steps(engine: Engine, encoder: FakeEncoder) -> None:
        monkeypatch.setattr(decoding, "decode", breaks)
        async with asyncio.timeout(3):
            items = (await engine.embed(PHOTOS)).items
        assert [isinstance(item, Embedded) for item in items] == [True, False, True, True]
        monkeypatch.setattr(decoding, "decode", decode)
        await recovers(engine)
        assert engine.depth == 0

    scenario(steps)


def test_threads_killed_one_and_all_are_replaced() -> None:
    """An exception out of nowhere ends each of the engine's threads, wherever it is."""
    before = set(threading.enumerate())

    async def steps(engine: Engine, encoder: FakeEncoder) -> None:
        for _ in range(2):
            for thread in set(threading.enumerate()) - before:
                if thread.ident is not None:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
                    )
            await recovers(engine)

    scenario(steps)


def test_readyz_follows_a_poisoned_session(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(settings.model_copy(update={"data_dir": tmp_path}))
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/readyz").status_code == 200
        monkeypatch.setattr(encoder_of(app), "encode", fail)
        end = time.monotonic() + SOON
        while client.get("/readyz").status_code == 200 and time.monotonic() < end:
            answer = client.post("/embed", content=PHOTOS[0], headers={"content-type": "image/jpeg"})
            assert answer.status_code in (500, 503)
            assert "poison" not in answer.text
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert client.get("/livez").status_code == 200
        refused = client.post("/embed", content=PHOTOS[0], headers={"content-type": "image/jpeg"})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        monkeypatch.undo()
        end = time.monotonic() + RETURN
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < end, "the service did not return"
            time.sleep(0.02)
        answer = client.post("/embed", content=PHOTOS[0], headers={"content-type": "image/jpeg"})
        assert answer.status_code == 200


def encoder_of(app: FastAPI) -> Any:
    return app.state.server.registry.get().encoder


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("poison")
