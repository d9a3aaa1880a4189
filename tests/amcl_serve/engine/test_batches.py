from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from amcl_serve.engine.engine import batch_sizes
from amcl_serve.engine.submissions import Embedded
from amcl_serve.model import pixels as decoding
from amcl_serve.model.providers import CPU
from tests.amcl_serve.engine.running import PHOTOS, running, until
from tests.fakes import FakeEncoder


def test_what_gathers_while_the_session_is_busy_is_the_next_batch() -> None:
    encoder = FakeEncoder()

    async def main() -> list[tuple[int, float]]:
        calls: list[tuple[int, float]] = []
        async with running(encoder, max_batch=8) as engine:
            engine.on_batch = lambda size, seconds: calls.append((size, seconds))
            encoder.gate.clear()
            first = asyncio.create_task(engine.embed(PHOTOS[:1]))
            await until(lambda: encoder.batches == [1])  # at once: no wait for more
            rest = asyncio.create_task(engine.embed(PHOTOS[:12]))
            await until(lambda: engine.decoded == 12)
            assert engine.depth == 13
            encoder.gate.set()
            await asyncio.gather(first, rest)
            assert engine.depth == 0
        return calls

    calls = asyncio.run(main())
    assert encoder.batches == [1, 8, 4]
    assert [size for size, _ in calls] == [1, 8, 4]
    assert calls[0][1] > 0


def test_a_device_gets_batches_of_the_sizes_it_was_warmed_up_with() -> None:
    encoder = FakeEncoder()

    async def main() -> list[int]:
        calls: list[int] = []
        async with running(encoder, max_batch=12) as engine:
            engine.on_batch = lambda size, _: calls.append(size)
            encoder.gate.clear()
            first = asyncio.create_task(engine.embed(PHOTOS[:1]))
            await until(lambda: encoder.batches == [1])
            rest = [asyncio.create_task(engine.embed([data])) for data in PHOTOS[:27]]
            await until(lambda: engine.decoded == 27)
            encoder.gate.set()
            await first
            for photo, task in zip(PHOTOS, rest, strict=False):
                (item,) = (await task).items
                assert isinstance(item, Embedded)
                mean = decoding.decode(photo, encoder.bundle.card.input, max_pixels=1000).mean((0, 1))
                np.testing.assert_allclose(item.features[:3], mean, rtol=1e-5)
        return calls

    assert asyncio.run(main()) == [1, 12, 12, 3]
    assert encoder.batches == [1, 12, 12, 4]
    assert set(encoder.batches) <= set(batch_sizes(12)) == {1, 2, 4, 8, 12}


def held_decoding(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Each release lets one image be decoded."""
    allowed = threading.Semaphore(0)
    real = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *args, **options: allowed.acquire() and real(*args, **options))
    return allowed


def test_cores_decode_until_a_batch_has_gathered_and_embed_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = FakeEncoder(provider=CPU)
    allowed = held_decoding(monkeypatch)

    async def main() -> None:
        async with running(encoder, decode_threads=1) as engine:
            task = asyncio.create_task(engine.embed(PHOTOS[:19]))
            await until(lambda: engine.depth == 19)
            for _ in range(7):
                allowed.release()
            await until(lambda: engine.decoded == 7)
            assert encoder.batches == []
            allowed.release()
            await until(lambda: encoder.batches == [8])
            for _ in range(11):
                allowed.release()
            await task
        assert encoder.batches == [8, 8, 3]

    asyncio.run(main())


def test_one_image_alone_does_not_wait_for_others_on_a_cpu() -> None:
    encoder = FakeEncoder(provider=CPU)

    async def main() -> None:
        async with running(encoder) as engine:
            for photo in PHOTOS[:3]:
                await engine.embed([photo])

    asyncio.run(main())
    assert encoder.batches == [1, 1, 1]


@pytest.mark.parametrize(("session_threads", "together"), [(1, 2), (2, 1)])
def test_calls_at_a_time_are_what_the_cores_can_carry(session_threads: int, together: int) -> None:
    encoder = FakeEncoder(provider=CPU, session_threads=session_threads)

    async def main() -> None:
        async with running(encoder, decode_threads=2) as engine:
            encoder.gate.clear()
            first = asyncio.create_task(engine.embed(PHOTOS[:1]))
            await until(lambda: len(encoder.batches) == 1)
            second = asyncio.create_task(engine.embed(PHOTOS[:1]))
            await until(lambda: len(encoder.batches) == together and engine.depth == 2)
            if together == 1:
                await until(lambda: engine.decoded == 1)
            encoder.gate.set()
            await asyncio.gather(first, second)

    asyncio.run(main())
    assert encoder.batches == [1, 1]
