"""An index that many threads search while it follows what the store writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.index.names import Names
from amcl_serve.vectors.index.pages import Memory
from amcl_serve.vectors.index.parts import Parts


@dataclass
class LiveIndex:
    """One collection's index: built once by `build`, changed by one thread, searched by any.

    `kept` is how many vectors the graph had when it was last kept on the disk; 0 for another graph. `gathered` is the
    memory whose pages were made large.
    """

    collection: int
    kept: int = 0
    gathered: Memory = (0, 0)
    _index: Parts | None = None
    _version: int = 0
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _building: threading.Lock = field(default_factory=threading.Lock)
    _missed: list[Change] = field(default_factory=list)  # while it is built
    _unnamed: list[Change] | None = None  # while its names are read
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

    def name(self, read: Callable[[], tuple[Names, int]]) -> None:
        """Give the index, which is there, the names that `read` reads of a state of the collection of that version;
        called by one thread. Changes meanwhile are caught up with.
        """
        with self.changing():
            self._unnamed = []
        try:
            names, version = read()
            with self.changing() as index:
                for change in self._unnamed:
                    if change.version > version:
                        names.follow(change)
                index.names = names
        finally:
            self._unnamed = None

    def follow(self, change: Change) -> None:
        """Apply a change, when the searches under way have ended; later ones wait for it."""
        with self._lock:
            if self._index is None:
                self._missed.append(change)
                return
        with self.changing() as index:
            _apply(index, change)
            self._version = change.version
            if self._unnamed is not None:
                self._unnamed.append(change)

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

    def searching(self) -> AbstractContextManager[tuple[Parts, int]]:
        """The index, which does not change meanwhile, and the version of the collection that it has."""
        return _Searching(self)

    def begin(self) -> tuple[Parts, int]:
        """As `searching`, until `end` is called."""
        with self._lock:
            while self._changing:
                self._lock.wait()
            assert self._index is not None
            self._searches += 1
            return self._index, self._version

    def end(self) -> None:
        """End what `begin` began."""
        with self._lock:
            self._searches -= 1
            if self._changing and not self._searches:
                self._lock.notify_all()


class _Searching:
    """A search under way. A class, since entering a generator takes a hundredth of a search longer."""

    def __init__(self, live: LiveIndex) -> None:
        self._live = live

    def __enter__(self) -> tuple[Parts, int]:
        return self._live.begin()

    def __exit__(self, *_: object) -> None:
        self._live.end()


def _apply(index: Parts, change: Change) -> None:
    index.remove(change.removed)
    index.add(change.added, change.vectors)
    if index.names is not None:
        index.names.follow(change)
