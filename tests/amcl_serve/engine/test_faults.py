from __future__ import annotations

import asyncio
from typing import Any

import pytest

from amcl_serve.engine.submissions import Embedded, EmbedResult
from amcl_serve.errors import AmclError, NotReady
from amcl_serve.model import pixels as decoding
from amcl_serve.model.providers import CPU
from tests.amcl_serve.engine.running import PHOTOS, running, until
from tests.fakes import FakeEncoder


def test_a_worker_that_dies_while_it_mends_the_encoder_is_followed_by_another() -> None:
    encoder = FakeEncoder(failure=RuntimeError("poisoned"))

    async def main() -> None:
        async with running(encoder) as engine:
            with pytest.raises(NotReady):
                await engine.embed(PHOTOS[:1])
            encoder.failure = SystemExit()  # out of the probe
            await until(lambda: not engine._workers.alive)
            encoder.failure = None
            await until(lambda: engine.healthy)
            assert isinstance((await engine.embed(PHOTOS[:1])).items[0], Embedded)

    asyncio.run(main())


def test_an_encoder_that_fails_is_opened_again_and_only_its_batch_is_lost() -> None:
    encoder = FakeEncoder(failure=RuntimeError("secret: /srv/model.onnx"))

    async def main() -> None:
        async with running(encoder) as engine:
            with pytest.raises(NotReady) as lost:
                await engine.embed(PHOTOS[:2])
            assert "secret" not in str(lost.value)
            assert engine.depth == 0
            await until(lambda: encoder.reopened >= 2)  # the first new session fails the probe too
            assert not engine.healthy
            with pytest.raises(NotReady):
                await engine.embed(PHOTOS[:1])
            encoder.failure = None
            await until(lambda: engine.healthy)
            assert [type(item) for item in (await engine.embed(PHOTOS[:2])).items] == [Embedded, Embedded]

    asyncio.run(main())


def test_a_lost_inference_thread_is_seen_and_replaced() -> None:
    encoder = FakeEncoder(failure=SystemExit())

    async def main() -> None:
        async with running(encoder) as engine:
            with pytest.raises(NotReady):
                await engine.embed(PHOTOS[:3])
            await until(lambda: not engine.healthy)
            assert engine.depth == 0
            encoder.failure = None
            await until(lambda: engine.healthy)
            assert isinstance((await engine.embed(PHOTOS[:1])).items[0], Embedded)

    asyncio.run(main())


def test_a_lost_decode_thread_is_seen_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decoding.decode

    def deadly(data: bytes, *args: Any, **options: Any) -> Any:
        if data == b"deadly":
            raise SystemExit
        return real(data, *args, **options)

    monkeypatch.setattr(decoding, "decode", deadly)

    async def main() -> None:
        async with running(FakeEncoder(provider=CPU), decode_threads=1) as engine:
            lost, kept = await asyncio.gather(
                engine.embed([b"deadly"]), engine.embed(PHOTOS[:1]), return_exceptions=True
            )
            assert isinstance(lost, EmbedResult)
            assert [item.code for item in lost.items if isinstance(item, AmclError)] == ["internal_error"]
            assert isinstance(kept, EmbedResult)  # the new thread's work
            await until(lambda: engine.healthy)

    asyncio.run(main())


def test_a_thread_that_dies_between_images_is_replaced() -> None:
    async def main() -> None:
        async with running(FakeEncoder(), decode_threads=1) as engine:
            with engine._work:
                engine._undecoded.append(object())  # type: ignore[arg-type]
                engine._work.notify()
            await until(lambda: not engine.healthy)
            await until(lambda: engine.healthy)
            assert isinstance((await engine.embed(PHOTOS[:1])).items[0], Embedded)

    asyncio.run(main())
