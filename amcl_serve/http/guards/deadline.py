"""A deadline for a series of waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


class Deadline:
    """What asyncio.timeout_at does, with one timer for all the waits of a request in place of one for each.

    Made on the event loop; `end` is to be called when nothing is waited for any more.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)
        self._late = False
        self._waiting: asyncio.Task[Any] | None = None

    async def wait(self, get: Callable[[], Awaitable[Value]]) -> Value:
        """What `get()` gives; TimeoutError from the deadline on."""
        if self._late:
            raise TimeoutError
        self._waiting = task = asyncio.current_task()
        assert task is not None
        cancelled = task.cancelling()
        try:
            return await get()
        except asyncio.CancelledError:
            if self._late and task.uncancel() <= cancelled:
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None

    def end(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _expire(self) -> None:
        self._late = True
        if self._waiting is not None:
            self._waiting.cancel()
