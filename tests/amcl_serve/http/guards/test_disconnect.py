from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from amcl_serve.http.guards.disconnect import unless_gone


def receiving(messages: list[Message]) -> Receive:
    """What gives `messages`, and nothing after them."""

    async def receive() -> Message:
        await asyncio.sleep(0)
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def test_work_for_a_client_that_stays_is_done() -> None:
    async def main() -> None:
        async def work() -> int:
            await asyncio.sleep(0.01)
            return 7

        assert await unless_gone(receiving([]), work()) == 7
        with pytest.raises(KeyError):
            await unless_gone(receiving([]), fail())
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def fail() -> int:
        raise KeyError

    asyncio.run(main())


def test_work_that_ends_at_once_is_not_watched() -> None:
    async def main() -> None:
        messages: list[Message] = [{"type": "http.disconnect"}]
        assert await unless_gone(receiving(messages), asyncio.sleep(0, 7)) == 7
        assert messages

    asyncio.run(main())


def test_work_for_a_client_that_leaves_is_cancelled() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        gone = receiving([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])
        with pytest.raises(ClientDisconnect):
            await unless_gone(gone, work())
        assert ended == [True]
        await asyncio.sleep(0.01)  # the task that called is not itself cancelled
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


def test_a_cancelled_caller_stays_cancelled() -> None:
    async def main() -> None:
        task = asyncio.create_task(unless_gone(receiving([]), asyncio.Event().wait()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
