"""Long work in steps of well under a second, so that whoever drives it can say how far it is, or leave it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[float, None, T]  # yields the share that is done, 0 to 1, and returns what was wanted


def in_order(threads: int, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The results of the jobs, one after another, while the next few are under way in threads."""
    coming = iter(jobs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="analysis")
    try:
        waiting: deque[Future[T]] = deque(pool.submit(job) for job in islice(coming, threads + 1))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(job) for job in islice(coming, 1))
            yield found
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def of_several(done: float, share: float, steps: Steps[T]) -> Steps[T]:
    """Steps that are a share of more, of which so much is done before."""
    while True:
        try:
            within = next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        yield done + share * within
