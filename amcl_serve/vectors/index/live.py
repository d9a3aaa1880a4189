"""An index that many threads search while it follows what the store writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from amcl_serve.vectors.index.parts import Parts
from amcl_serve.vectors.types import Rows, Vectors


@dataclass(frozen=True)
class Change:
    """What a write changed: rows that are gone, and those that came, ascending, with their vectors [N, size]."""

    version: int  # of the collection, from then on
    removed: Rows
    added: Rows
    vectors: Vectors


@dataclass
class LiveIndex:
    """One collection's index: built once by `build`, changed by one thread, searched by any.

    `kept` is how many vectors the graph had when it was last kept on the disk; 0 for another graph.
    """

    collection: int
    kept: int = 0
    _index: Parts | None = None
    _version: int = 0
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _building: threading.Lock = field(default_factory=threading.Lock)
    _missed: list[Change] = field(default_factory=list)  # while it is built
    _searches: int = 0
    _changing: bool = False

    def build(self, read: Callable[[], tuple[Parts, int]]) -> None:
        """Take the index that `read` makes of a state of the collection, and that state's version; unless there is one.

        Changes meanwhile are caught up with.
        """
        if self._index is not None:
            return
        with self._building:
            if self._index is not None:
                return
            index, version = read()
            with self._lock:
                for change in self._missed:
                    if change.version > version:
                        _apply(index, change)
                        version = change.version
                self._missed.clear()
                self._version = version
                self._index = index

    def follow(self, change: Change) -> None:
        """Apply a change, when the searches under way have ended; later ones wait for it."""
        with self._lock:
            if self._index is None:
                self._missed.append(change)
                return
        with self.changing() as index:
            _apply(index, change)
            self._version = change.version

    @contextmanager
    def changing(self) -> Iterator[Parts]:
        """The index, which is there, while nobody else searches or changes it."""
        with self._lock:
            while self._changing:
                self._lock.wait()
            self._changing = True
            while self._searches:
                self._lock.wait()
            index = self._index
        try:
            assert index is not None
            yield index
        finally:
            with self._lock:
                self._changing = False
                self._lock.notify_all()

    @property
    def made(self) -> bool:
        """Whether there is an index yet."""
        return self._index is not None

    @contextmanager
    def searching(self) -> Iterator[tuple[Parts, int]]:
        """The index, which does not change meanwhile, and the version of the collection that it has."""
        with self._lock:
            while self._changing:
                self._lock.wait()
            assert self._index is not None
            index, version = self._index, self._version
            self._searches += 1
        try:
            yield index, version
        finally:
            with self._lock:
                self._searches -= 1
                if not self._searches:
                    self._lock.notify_all()


def _apply(index: Parts, change: Change) -> None:
    index.remove(change.removed)
    index.add(change.added, change.vectors)
