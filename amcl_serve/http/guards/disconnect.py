"""Work for a client that may leave: nobody is worked for who does not wait any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

Value = TypeVar("Value")

_SOON = 0.2  # seconds for which nobody is looked after: work that ends within them is not worth cancelling


async def unless_gone(receive: Receive, work: Awaitable[Value]) -> Value:
    """What `work` gives, for a request whose body has been read; ClientDisconnect, and `work` cancelled, if its client
    closes the connection before.
    """
    task = asyncio.current_task()
    assert task is not None
    watcher: asyncio.Task[None] | None = None

    def watch() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(_cancel_when_gone(receive, task))

    timer = asyncio.get_running_loop().call_later(_SOON, watch)  # most work is done before, at a third of the cost
    try:
        return await work
    except asyncio.CancelledError:
        if watcher is not None and watcher.done() and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


async def _cancel_when_gone(receive: Receive, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
