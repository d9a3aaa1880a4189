"""Threads that work until they are told to end. One that dies is replaced, and until then the stage counts as down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

_PAUSE = 0.2  # seconds before a thread is replaced, so that what dies at once does not do so all the time


class Workers:
    """`count` threads, each of which runs `work` once; it returns when it has been told to end, by its own means."""

    def __init__(self, name: str, count: int, work: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self._ending = False
        self._threads: list[threading.Thread | None] = [None] * count

    def start(self) -> None:
        """Start the threads, once."""
        for place in range(len(self._threads)):
            self._spawn(place)

    @property
    def alive(self) -> bool:
        """Whether every thread is at work."""
        return all(thread is not None and thread.is_alive() for thread in self._threads)

    def join(self, timeout: float) -> None:
        """Wait for the end of threads that have been told to end, `timeout` seconds at most; none is replaced."""
        self._ending = True
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _spawn(self, place: int) -> None:
        thread = threading.Thread(target=self._run, args=[place], name=f"{self._name}-{place}", daemon=True)
        self._threads[place] = thread
        thread.start()

    def _run(self, place: int) -> None:
        try:
            self._work()
        except BaseException:
            self._threads[place] = None
            logger.critical("the thread %s-%d died; another takes its place", self._name, place, exc_info=True)
            time.sleep(_PAUSE)
            while not self._ending:
                try:
                    self._spawn(place)
                except RuntimeError:  # the system gives no thread now
                    self._threads[place] = None
                    logger.exception("the thread %s-%d cannot be replaced yet", self._name, place)
                    time.sleep(_PAUSE)
                else:
                    return
