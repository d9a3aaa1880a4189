from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amcl_serve.engine.engine import Engine
from amcl_serve.engine.submissions import Embedded, EmbedResult, stack
from amcl_serve.errors import AmclError, DeadlineExceeded, NotReady, Overloaded, TooManyItems, UndecodableImage
from amcl_serve.model import pixels as decoding
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.providers import CPU
from amcl_serve.settings import Settings
from tests import images
from tests.amcl_serve.engine.running import PHOTOS, running, until
from tests.fakes import FakeEncoder


def test_rows_come_back_in_order(tiny_bundle: Path) -> None:
    encoder = Encoder.load(Bundle.open(tiny_bundle), session_threads=1)

    async def main() -> EmbedResult:
        async with running(encoder, max_batch=4) as engine:
            return await engine.embed(PHOTOS)

    found = asyncio.run(main())
    pixels = np.stack([decoding.decode(data, encoder.bundle.card.input, max_pixels=10**6) for data in PHOTOS])
    rows = [item for item in found.items if isinstance(item, Embedded)]
    assert len(rows) == len(PHOTOS)
    np.testing.assert_allclose(stack(rows).features, encoder.encode(pixels).features, atol=1e-5)
    np.testing.assert_allclose(stack(rows).heads, encoder.encode(pixels).heads, atol=1e-5)


def test_many_callers_get_their_own_rows() -> None:
    async def main() -> None:
        async with running(FakeEncoder(delay=0.001), max_batch=8) as engine:
            alone = [(await engine.embed([data])).items[0] for data in PHOTOS]
            together = await asyncio.gather(*(engine.embed([data]) for data in PHOTOS))
        for one, many in zip(alone, together, strict=True):
            assert isinstance(one, Embedded)
            assert isinstance(many.items[0], Embedded)
            np.testing.assert_array_equal(one.features, many.items[0].features)

    asyncio.run(main())


def test_a_bad_image_fails_alone() -> None:
    async def main() -> EmbedResult:
        async with running(FakeEncoder()) as engine:
            return await engine.embed([PHOTOS[0], images.truncated(), b"", images.bomb_png(), PHOTOS[1]])

    found = asyncio.run(main()).items
    codes = [item.code if isinstance(item, AmclError) else None for item in found]
    assert codes == [None, "undecodable_image", "empty_image", "image_too_large", None]


def test_only_bad_images_need_no_encoder() -> None:
    encoder = FakeEncoder()

    async def main() -> EmbedResult:
        async with running(encoder) as engine:
            return await engine.embed([b"x", b""])

    assert [type(item) for item in asyncio.run(main()).items] != [Embedded, Embedded]
    assert encoder.batches == []


def test_nothing_to_embed() -> None:
    async def main() -> EmbedResult:
        async with running(FakeEncoder()) as engine:
            return await engine.embed([])

    assert asyncio.run(main()).items == []


def test_not_started() -> None:
    engine = Engine(FakeEncoder(), settings=Settings())
    assert not engine.healthy

    async def main() -> None:
        with pytest.raises(NotReady):
            await engine.embed(PHOTOS[:1])
        await engine.stop()

    asyncio.run(main())


def test_admission_is_of_whole_requests() -> None:
    encoder = FakeEncoder()

    async def main() -> None:
        async with running(encoder, max_queue_items=4) as engine:
            encoder.gate.clear()
            first = asyncio.create_task(engine.embed(PHOTOS[:3]))
            await until(lambda: engine.depth == 3)
            with pytest.raises(Overloaded, match="room for 1 more images, not for 2"):
                await engine.embed(PHOTOS[:2])
            assert engine.depth == 3
            last = asyncio.create_task(engine.embed(PHOTOS[:1]))
            await until(lambda: engine.depth == 4)
            encoder.gate.set()
            await asyncio.gather(first, last)
            assert len((await engine.embed(PHOTOS[:4])).items) == 4

    asyncio.run(main())


def test_a_request_that_can_never_fit_is_told_so() -> None:
    async def main() -> None:
        async with running(FakeEncoder(), max_queue_items=2) as engine:
            with pytest.raises(TooManyItems, match="3 images in one request; the queue holds 2"):
                await engine.embed(PHOTOS[:3])

    asyncio.run(main())


def test_deadline_frees_the_places() -> None:
    encoder = FakeEncoder()

    async def main() -> None:
        async with running(encoder, request_deadline=0.05, max_batch=1) as engine:
            encoder.gate.clear()
            with pytest.raises(DeadlineExceeded, match=r"0\.05 seconds"):
                await engine.embed(PHOTOS[:5])
            assert engine.depth == 0
            encoder.gate.set()
            assert isinstance((await engine.embed(PHOTOS[:1])).items[0], Embedded)
            assert engine.depth == 0
        assert encoder.batches == [1, 1]  # the one that had started, and the new one

    asyncio.run(main())


def test_a_caller_that_leaves_is_not_worked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one decode thread held, one image is being decoded and the others have not started."""
    started, release = [], threading.Event()
    real = decoding.decode

    def slow(data: bytes, *args: Any, **options: Any) -> Any:
        started.append(data)
        release.wait(5)
        return real(data, *args, **options)

    monkeypatch.setattr(decoding, "decode", slow)
    encoder = FakeEncoder(provider=CPU)

    async def main() -> None:
        async with running(encoder, decode_threads=1) as engine:
            gone = asyncio.create_task(engine.embed(PHOTOS[:10]))
            await until(lambda: len(started) == 1)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert engine.depth == 0
            stays = asyncio.create_task(engine.embed([PHOTOS[20]]))
            await until(lambda: engine.depth == 1)
            release.set()
            assert isinstance((await stays).items[0], Embedded)
        assert started == [PHOTOS[0], PHOTOS[20]]
        assert encoder.batches == [1]

    asyncio.run(main())


def test_stop_answers_the_admitted_and_refuses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = FakeEncoder()
    release = threading.Event()
    real = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *args, **options: release.wait(5) and real(*args, **options))

    async def main() -> None:
        before = set(threading.enumerate())
        engine = Engine(encoder, settings=Settings(max_batch=2, decode_threads=2))
        await engine.start()
        admitted = asyncio.create_task(engine.embed(PHOTOS[:9]))
        await until(lambda: engine.depth == 9)
        stopping = asyncio.create_task(engine.stop())
        await until(lambda: not engine.healthy)
        await asyncio.sleep(0.02)
        assert not stopping.done()
        with pytest.raises(NotReady):
            await engine.embed(PHOTOS[:1])
        release.set()
        await stopping
        assert all(isinstance(item, Embedded) for item in (await admitted).items)
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert not any(name.startswith("amcl-work") for name in names)

    asyncio.run(main())


def test_timing_adds_up() -> None:
    async def timed(engine: Engine) -> tuple[EmbedResult, float]:
        start = asyncio.get_running_loop().time()
        found = await engine.embed(PHOTOS[:1])
        return found, 1000 * (asyncio.get_running_loop().time() - start)

    async def main() -> tuple[EmbedResult, float, EmbedResult]:
        async with running(FakeEncoder(delay=0.05)) as engine:
            return *await timed(engine), await engine.embed([b"x"])

    found, total, bad = asyncio.run(main())
    timing = found.timing
    assert timing.inference_ms >= 50
    assert timing.decode_ms > 0
    assert timing.queue_ms > 0
    assert total / 2 < timing.queue_ms + timing.decode_ms + timing.inference_ms <= total
    assert bad.timing.inference_ms == 0


def test_two_event_loops_share_an_engine() -> None:
    """As the page does, whose handlers may run on a loop of their own."""
    found: list[EmbedResult] = []

    async def main() -> None:
        async with running(FakeEncoder()) as engine:
            call: Callable[[], Awaitable[EmbedResult]] = lambda: engine.embed(PHOTOS[:2])  # noqa: E731
            await asyncio.to_thread(lambda: found.append(asyncio.run(call())))  # type: ignore[arg-type]
            found.append(await call())

    asyncio.run(main())
    assert [len(result.items) for result in found] == [2, 2]


def test_stack_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        stack([])


def test_undecodable_is_the_error_of_images() -> None:
    async def main() -> EmbedResult:
        async with running(FakeEncoder()) as engine:
            return await engine.embed([images.truncated()])

    assert isinstance(asyncio.run(main()).items[0], UndecodableImage)
