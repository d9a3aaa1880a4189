"""Calls of the synchronous store from the event loop, in threads that nothing else uses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from starlette.types import Receive

from amcl_serve.http.guards.disconnect import unless_gone
from amcl_serve.http.server import Server
from amcl_serve.vectors.budget import Budget

Value = TypeVar("Value")

THREADS = 16  # most of them wait for the disk; those that search in vain for long leave some to others


def store_threads() -> ThreadPoolExecutor:
    """What a server's `store_threads` is."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="collections")


async def call(server: Server, function: Callable[..., Value], *args: Any, **options: Any) -> Value:
    """What `function`, a method of the store that takes as long as its answer is, gives."""
    work = partial(copy_context().run, function, *args, **options)
    return await asyncio.get_running_loop().run_in_executor(server.store_threads, work)


async def call_within(
    server: Server, receive: Receive, function: Callable[..., Value], *args: Any, **options: Any
) -> Value:
    """The same of one that may take any time: it is given a `budget`, as long as the settings allow and the client, all
    of whose body has come, stays.
    """
    budget = Budget(server.settings.search_deadline)

    def work() -> Value:
        budget.start()
        return function(*args, budget=budget, **options)

    try:
        return await unless_gone(receive, call(server, work))
    except BaseException:
        budget.cancel()
        raise
