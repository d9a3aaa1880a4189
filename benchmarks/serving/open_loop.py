"""An open-loop load generator: requests leave by a schedule, whatever has become of those before them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import random
import resource
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import uvloop

UNANSWERED = 0  # the status of a request that got no answer, or only a part of one
MOST_CONNECTIONS = 10_000  # of one process, which all wait for answers; further requests count as unanswered
IDLE = 3.0  # seconds after which a connection is not used again: servers close theirs, ours after 5


class Sent(NamedTuple):
    """A request: when it was due, when it was taken up, when its answer was complete (seconds of `time.time`)."""

    due: float
    left: float
    done: float
    status: int
    retry_after: bool


@dataclass(frozen=True)
class Load:
    """What to send: `bodies` in turn to `path`, `rate` a second (Poisson arrivals) from `start` for `seconds`."""

    port: int
    path: str
    bodies: Sequence[bytes]
    rate: float
    start: float
    seconds: float
    patience: float  # seconds to wait for the answers at the end
    seed: int = 0

    def share(self, number: int, of: int) -> Load:
        """This load's part that process `number` of `of` offers: independent arrivals at a fraction of the rate."""
        rate = self.rate / of
        return Load(
            self.port, self.path, self.bodies, rate, self.start, self.seconds, self.patience, self.seed + number
        )


class Offered(NamedTuple):
    """What became of a load, and the processor seconds that offering it took."""

    sent: list[Sent]
    cpu_seconds: float


def offer(load: Load, *, processes: int = 1) -> Future[list[Offered]]:
    """Offer `load` from processes of its own, in the background; an entry of the result for each."""
    done: Future[list[Offered]] = Future()
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    parts = [pool.submit(_run, load.share(number, processes)) for number in range(processes)]
    pool.shutdown(wait=False)

    def gather(_: object) -> None:
        if all(part.done() for part in parts) and not done.done():
            done.set_result([part.result() for part in parts])

    for part in parts:
        part.add_done_callback(gather)
    return done


def _run(load: Load) -> Offered:
    gc.disable()  # what it notes would be looked through again and again
    began = time.process_time()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sent = uvloop.run(_offer(load))
    return Offered(sent, time.process_time() - began)


async def _offer(load: Load) -> list[Sent]:
    idle: list[_Connection] = []
    every: list[_Connection] = []
    requests = [_request(load, body) for body in load.bodies]
    sent: list[Sent] = []
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[None]] = set()

    async def connect(due: float, left: float, request: bytes) -> None:
        try:
            _, connection = await loop.create_connection(lambda: _Connection(sent, idle), "127.0.0.1", load.port)
        except OSError:
            sent.append(Sent(due, left, time.time(), UNANSWERED, False))
            return
        every.append(connection)
        connection.send(due, left, request)

    for due, request in zip(_arrivals(load), itertools.cycle(requests)):
        wait = due - time.time()
        if wait > 0:
            await asyncio.sleep(wait)
        left = time.time()
        while idle and (idle[-1].closed or left - idle[-1].since > IDLE):
            idle.pop().end()
        if idle:
            idle.pop().send(due, left, request)
        elif len(every) + len(opening) < MOST_CONNECTIONS:
            task = loop.create_task(connect(due, left, request))
            opening.add(task)
            task.add_done_callback(opening.discard)
        else:
            sent.append(Sent(due, left, left, UNANSWERED, False))
        if wait < -0.01:
            await asyncio.sleep(0)  # behind the schedule: let answers be read all the same
    end = time.time() + load.patience
    while time.time() < end and (opening or any(connection.waiting for connection in every)):
        await asyncio.sleep(0.02)
    for connection in every:
        connection.end()
    return sent


def _arrivals(load: Load) -> list[float]:
    rng = random.Random(load.seed)
    due, end = load.start, load.start + load.seconds
    found = []
    while (due := due + rng.expovariate(load.rate)) < end:
        found.append(due)
    return found


def _request(load: Load, body: bytes) -> bytes:
    head = f"POST {load.path} HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class _Connection(asyncio.Protocol):
    """One request at a time on a connection that is kept; it notes each answer in `sent` and goes to `idle`."""

    sent: list[Sent]
    idle: list[_Connection]
    waiting: bool = False
    closed: bool = False
    since: float = 0.0  # when it last became idle
    _buffer: bytearray = field(default_factory=bytearray)
    _due: float = 0.0
    _left: float = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, due: float, left: float, request: bytes) -> None:
        """Send a request that was due at `due` and taken up at `left`."""
        self.waiting, self._due, self._left = True, due, left
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        head = head.lower()
        at = head.index(b"content-length:") + 15  # ours always says it
        if len(body) < int(head[at:].split(b"\r\n", 1)[0]):
            return
        self._buffer.clear()
        self._note(int(head[9:12]), b"\r\nretry-after:" in head)
        if b"\r\nconnection: close" in head:
            self.closed = True
        else:
            self.since = time.time()
            self.idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        if self.waiting:
            self._note(UNANSWERED, False)

    def end(self) -> None:
        """Close; a request still open has no answer."""
        self._transport.abort()
        self.connection_lost(None)

    def _note(self, status: int, retry_after: bool) -> None:
        self.waiting = False
        self.sent.append(Sent(self._due, self._left, time.time(), status, retry_after))
