"""What differs between waiting and awaiting: each pair of functions under the two names of the generated twin."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def async_call(function: Callable[..., T], *args: object) -> T:
    """`function(*args)` in a thread, so that the event loop is free."""
    return await anyio.to_thread.run_sync(function, *args)


def call(function: Callable[..., T], *args: object) -> T:
    """`function(*args)`."""
    return function(*args)


async def async_sleep(seconds: float) -> None:
    """Wait; the event loop goes on."""
    await anyio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
