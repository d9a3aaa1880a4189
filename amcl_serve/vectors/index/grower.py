"""The thread that makes graphs of large collections, and moves into them what is added, beside the searches."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator

from amcl_serve.vectors.index.coded import Fetch
from amcl_serve.vectors.index.live import LiveIndex
from amcl_serve.vectors.index.pages import LARGE as LARGE_MEMORY
from amcl_serve.vectors.index.pages import Memory, gather

LARGE = 20_000  # vectors; a graph of fewer saves little
_REST = 2_000  # vectors that are not in the graph, beyond which they are moved into it
_DEAD = 0.3  # share of removed vectors in a graph, beyond which it is made anew
_SLICE = 16  # vectors moved at a time, while no search begins: about 10 ms
_PIECE = 256  # vectors entered at a time into a graph that nobody searches yet
_WAIT = 1.0  # seconds

_log = logging.getLogger(__name__)


class Grower:
    """Looks after the indexes that `indexes` names, once a second, until `close`.

    `keep` is called for one whose graph has grown by a tenth since it was kept, `fetch` for vectors that an index has
    not got itself, `name` for an index without names.
    """

    def __init__(
        self,
        indexes: Callable[[], Iterable[LiveIndex]],
        keep: Callable[[LiveIndex], None],
        fetch: Fetch,
        name: Callable[[LiveIndex], None],
    ) -> None:
        self._indexes = indexes
        self._keep = keep
        self._fetch = fetch
        self._name = name
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collections-grower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, within a fraction of a second; again is no error."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # what answers requests goes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._closing.wait(_WAIT):
            for live in list(self._indexes()):
                try:
                    self.tend(live)
                except Exception:  # searches go on with what there is
                    _log.exception("the graph of a collection could not be made larger")

    def tend(self, live: LiveIndex) -> None:
        """Do what is to be done for one index, or begin it."""
        if not live.made:
            return
        with live.searching() as (index, _):
            graph, count, rest = index.graph, len(index), len(index.rest)
            choice, named = index.choice, index.names is not None
        if not named:
            self._name(live)
        self._gather(live)
        if graph is None or graph.dead > _DEAD or graph.outgrown:
            if count >= LARGE and choice.kind != "exact":
                self._make(live)
                self._keep(live)
            return
        if graph.added > 1.1 * live.kept:
            self._keep(live)
        while rest > _REST and not self._closing.is_set():
            for _ in range(_REST // _SLICE):
                with live.changing() as index:
                    index.move(_SLICE)
                if self._closing.wait(0.001):  # searches that wait come in between
                    return
            with live.searching() as (index, _):
                rest = len(index.rest)

    def _gather(self, live: LiveIndex) -> None:
        """Have the vectors lie in large pages: again where they were moved, or have become more by a quarter."""

        @contextlib.contextmanager
        def held() -> Iterator[Memory]:
            with live.searching() as (index, _):
                yield index.memory

        with held() as memory:
            address, length = memory
        if length >= LARGE_MEMORY and (address != live.gathered[0] or length > 1.25 * live.gathered[1]):
            gather(held, memory)
            live.gathered = memory

    def _make(self, live: LiveIndex) -> None:
        """A graph of all vectors, beside the index; then it takes its place."""
        with live.searching() as (index, _):
            graph = index.new_graph(self._fetch)
            rows = index.rows
        _log.info("making a graph of %d vectors", len(rows))
        for start in range(0, len(rows), _PIECE):
            if self._closing.is_set():
                return
            with live.searching() as (index, _):
                part, vectors = index.vectors(rows[start : start + _PIECE], self._fetch)
            graph.add(part, vectors)
        with live.changing() as index:
            index.use(graph)
            live.kept = 0
        _log.info("the graph of %d vectors is in use", len(graph))
