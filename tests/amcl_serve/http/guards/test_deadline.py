from __future__ import annotations

import asyncio

import pytest

from amcl_serve.http.guards.deadline import Deadline


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> int:
    return 7


def test_waits_within_it_end_as_they_do() -> None:
    async def main() -> None:
        deadline = Deadline(60)
        assert [await deadline.wait(at_once) for _ in range(3)] == [7, 7, 7]
        deadline.end()

    asyncio.run(main())


def test_it_ends_a_wait_and_no_further_one_begins() -> None:
    async def main() -> None:
        deadline = Deadline(0.02)
        assert await deadline.wait(at_once) == 7
        with pytest.raises(TimeoutError):
            await deadline.wait(never)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            await deadline.wait(at_once)

    asyncio.run(main())


def test_it_passes_between_two_waits() -> None:
    async def main() -> None:
        deadline = Deadline(0.01)
        await asyncio.sleep(0.05)  # which is not cancelled
        with pytest.raises(TimeoutError):
            await deadline.wait(at_once)

    asyncio.run(main())


def test_after_its_end_nothing_is_late() -> None:
    async def main() -> None:
        deadline = Deadline(0.01)
        deadline.end()
        await asyncio.sleep(0.05)
        assert await deadline.wait(at_once) == 7

    asyncio.run(main())


@pytest.mark.parametrize("late", [False, True])
def test_a_cancelled_caller_stays_cancelled(late: bool) -> None:
    async def main() -> None:
        deadline = Deadline(60)
        task = asyncio.create_task(deadline.wait(never))
        await asyncio.sleep(0)
        task.cancel()
        if late:
            deadline._expire()  # at the same moment
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline.end()

    asyncio.run(main())
