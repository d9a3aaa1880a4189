"""Engine: from the bytes of many requests to their embeddings, in the largest batches that cost no waiting.

    embed() ──▶ admission ──▶ decode threads ──▶ waiting ──▶ inference thread ──▶ embed() returns
    event loop  all or 429    one image each     pixels      up to max_batch, the moment the session is free

Nothing waits for a batch to fill: while the encoder works, images gather, and the next call takes what has gathered.
A stage that fails takes readiness away, loses the requests it was working on (503) and is set up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from amcl_serve import images as decoding
from amcl_serve.encoder import Embeddings, Encoder
from amcl_serve.errors import AmclError, DeadlineExceeded, NotReady, Overloaded, TooManyItems
from amcl_serve.settings import Settings
from amcl_serve.workers import Workers

logger = logging.getLogger(__name__)

_RETRY, _LONGEST_RETRY = 0.1, 10.0  # seconds between attempts to open a session again; doubled each time


@dataclass(frozen=True)
class Embedded:
    """One image's embedding: `features` float32 [D], unnormalised; `heads` float32 [C, d'], unit norm."""

    features: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Timing:
    """Milliseconds that the image answered last spent waiting, being decoded and in the encoder; they add up."""

    queue_ms: float
    decode_ms: float
    inference_ms: float


@dataclass(frozen=True)
class EmbedResult:
    """One entry an image, in order: its embedding, or the error that concerns it alone."""

    items: list[Embedded | AmclError]
    timing: Timing


def stack(items: Sequence[Embedded]) -> Embeddings:
    """The rows of `items` as one Embeddings; ValueError if there are none."""
    return Embeddings(np.stack([item.features for item in items]), np.stack([item.heads for item in items]))


class Engine:
    """Admission, decoding and batching around one encoder.

    Three kinds of threads meet here: event loops (`embed`), decode threads, and the one inference thread. `_lock`
    guards what they share; `_queued` wakes decode threads, `_filled` the inference thread, `_emptied` `stop`.
    """

    def __init__(self, encoder: Encoder, *, settings: Settings) -> None:
        self.on_batch: Callable[[int, float], None] | None = None  # told (images, seconds) of each call of the encoder
        self._encoder = encoder
        self._settings = settings
        self._lock = threading.Lock()
        self._queued = threading.Condition(self._lock)
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._undecoded: deque[_Job] = deque()
        self._waiting: deque[_Job] = deque()
        self._depth = 0
        self._accepting = False
        self._broken = False  # the encoder failed and has not been opened again
        self._ended = threading.Event()
        self._decoders = Workers("amcl-decode", settings.decode_threads, self._decode_all)
        self._inference = Workers("amcl-encode", 1, self._infer_all)

    async def start(self) -> None:
        """Start the threads; an engine starts once."""
        assert not self._decoders.alive, "started already"
        self._decoders.start()
        self._inference.start()
        self._accepting = True

    async def stop(self) -> None:
        """Refuse new requests, answer the admitted ones (they have their deadline at most), end the threads."""
        with self._lock:
            started, self._accepting = self._accepting, False
        if started:
            await asyncio.to_thread(self._drain)

    @property
    def healthy(self) -> bool:
        """Whether requests can be answered: started, not stopping, every thread alive and the encoder in order."""
        return self._accepting and not self._broken and self._decoders.alive and self._inference.alive

    @property
    def depth(self) -> int:
        """Images admitted and not yet answered."""
        return self._depth

    async def embed(self, images: Sequence[bytes]) -> EmbedResult:
        """Embed `images`, each the bytes of a file; errors of one image are in its place of the result.

        Raises for the whole request: NotReady (not started, stopping, or the inference thread lost), Overloaded (not
        all of it finds a place in the queue), TooManyItems (it never could) or DeadlineExceeded. A caller that gives
        up, by cancellation or deadline, frees its places at once; what has not started of it is dropped.
        """
        if not images:
            return EmbedResult([], Timing(0.0, 0.0, 0.0))
        request = _Request(len(images))
        self._admit(request, images)
        try:
            async with asyncio.timeout(self._settings.request_deadline):
                await request.answered
        except TimeoutError:
            seconds = self._settings.request_deadline
            raise DeadlineExceeded(f"not answered within {seconds:g} seconds; send fewer images or try later") from None
        finally:
            self._abandon(request)
        return request.result()

    def _admit(self, request: _Request, images: Sequence[bytes]) -> None:
        """Count the whole request in, or none of it, and hand its images to the decoders."""
        size, places = len(images), self._settings.max_queue_items
        if size > places:
            raise TooManyItems(f"{size} images in one request; the queue holds {places}")
        with self._lock:
            if not self.healthy:
                raise NotReady("the encoder is not running: the server is starting, stopping, or setting it up again")
            if self._depth + size > places:
                free = places - self._depth
                raise Overloaded(f"the queue has room for {free} more images, not for {size}; try again in a moment")
            self._depth += size
            self._undecoded.extend(_Job(request, index, data) for index, data in enumerate(images))
            self._queued.notify(size)

    def _abandon(self, request: _Request) -> None:
        """Free the places of what is still open of a request, so that it is not worked on; nothing is, if answered."""
        with self._lock:
            if not request.open:
                return
            self._depth -= request.open
            request.open = 0
            self._waiting = deque(job for job in self._waiting if job.request is not request)
            self._emptied.notify_all()

    def _decode_all(self) -> None:
        """A decode thread, from `start` to `stop`."""
        while (job := self._next_job()) is not None:
            try:
                self._decode(job)
            except BaseException as error:
                self._answer([job], [AmclError("the server failed to decode this image; its log says why")])
                if not isinstance(error, Exception):
                    raise
                logger.exception("an image failed to decode in a way that no image should")

    def _next_job(self) -> _Job | None:
        """Wait for an image that is not decoded; None when the engine ends."""
        with self._queued:
            self._queued.wait_for(lambda: self._undecoded or self._ended.is_set())
            return self._undecoded.popleft() if self._undecoded else None

    def _decode(self, job: _Job) -> None:
        """Bytes to pixels, then into the line for the encoder."""
        if not job.request.open:
            return  # the caller has given up
        job.lap("queue")
        spec, max_pixels = self._encoder.bundle.card.input, self._settings.max_pixels
        try:
            job.pixels = decoding.decode(job.data, spec, max_pixels=max_pixels)
        except AmclError as error:
            job.lap("decode")
            self._answer([job], [error])
            return
        job.lap("decode")
        job.data = b""
        with self._lock:
            if job.request.open:
                self._waiting.append(job)
                self._filled.notify()
        if self._broken:
            self._lose_all()

    def _infer_all(self) -> None:
        """The inference thread, from `start` to `stop`."""
        while batch := self._next_batch():
            try:
                self._infer(batch)
            except BaseException as error:
                _lose(batch)
                if not isinstance(error, Exception):
                    raise
                logger.exception("a batch of %d images failed", len(batch))
                self._recover()

    def _next_batch(self) -> list[_Job]:
        """Wait for images and take as many as a batch holds; none when the engine ends."""
        with self._filled:
            self._filled.wait_for(lambda: self._waiting or self._ended.is_set())
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.max_batch))]

    def _infer(self, batch: list[_Job]) -> None:
        for job in batch:
            job.lap("queue")
        start = perf_counter()
        found = self._encoder.encode(np.stack([job.pixels for job in batch if job.pixels is not None]))
        if self.on_batch is not None:
            self.on_batch(len(batch), perf_counter() - start)
        for job in batch:
            job.lap("inference")
        self._answer(batch, [Embedded(*row) for row in zip(found.features, found.heads, strict=True)])

    def _recover(self) -> None:
        """Go on once the probe succeeds, with a new session where this one fails it; until then readiness is off.

        No image is to blame for a failed batch: to the encoder all are alike.
        """
        again, pause = False, _RETRY
        while not self._ended.is_set():
            try:
                if again:
                    self._encoder.reopen()
                self._encoder.verify_probe()
            except Exception:
                logger.exception("the encoder does not work; it is opened again in %.1f s", pause)
            else:
                self._broken = False
                return
            self._broken, again = again, True
            if self._broken:
                self._lose_all()
            self._ended.wait(pause)
            pause = min(2 * pause, _LONGEST_RETRY)

    def _lose_all(self) -> None:
        """What has been admitted is not kept waiting for an encoder that may not come back."""
        with self._lock:
            jobs = [*self._undecoded, *self._waiting]
            self._undecoded.clear()
            self._waiting.clear()
        _lose(jobs)

    def _answer(self, jobs: Sequence[_Job], answers: Sequence[Embedded | AmclError]) -> None:
        """Note the answers and wake the requests that now have all of theirs."""
        finished: list[_Request] = []
        with self._lock:
            for job, answer in zip(jobs, answers, strict=True):
                request = job.request
                if not request.open:
                    continue
                request.items[job.index] = answer
                request.open -= 1
                self._depth -= 1
                if not request.open:
                    request.spent = job.spent
                    finished.append(request)
            self._emptied.notify_all()
        for request in finished:
            request.wake()

    def _drain(self) -> None:
        with self._emptied:
            self._emptied.wait_for(lambda: not self._depth, timeout=self._settings.request_deadline)
            self._ended.set()
            self._queued.notify_all()
            self._filled.notify_all()
        for stage in (self._decoders, self._inference):
            stage.join(self._settings.request_deadline)


def _lose(jobs: Sequence[_Job]) -> None:
    """Let the callers of jobs go on that no stage will finish."""
    for request in {job.request for job in jobs}:
        request.wake(NotReady("the server lost this request to a fault, and is setting up again; send it again"))


class _Request:
    """The images of one call of `embed`, and where their answers gather. Made on the caller's event loop."""

    def __init__(self, size: int) -> None:
        self.items: list[Embedded | AmclError | None] = [None] * size
        self.open = size  # images not yet answered; 0 also when the caller has given up
        self.spent: dict[str, float] = {}  # of the image answered last
        self._loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = self._loop.create_future()

    def wake(self, error: AmclError | None = None) -> None:
        """From any thread: let the caller go on, with `error` if there is one."""
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._finish, error)

    def _finish(self, error: AmclError | None) -> None:
        if self.answered.done():
            return
        if error is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(error)

    def result(self) -> EmbedResult:
        """What the caller gets, once every image has its answer."""
        timing = Timing(*(1000 * self.spent[stage] for stage in ("queue", "decode", "inference")))
        return EmbedResult([item for item in self.items if item is not None], timing)


class _Job:
    """One image on its way, with the seconds it spent in each stage."""

    def __init__(self, request: _Request, index: int, data: bytes) -> None:
        self.request = request
        self.index = index
        self.data = data
        self.pixels: npt.NDArray[np.uint8] | None = None
        self.spent = {"queue": 0.0, "decode": 0.0, "inference": 0.0}
        self._mark = perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to `stage`."""
        now = perf_counter()
        self.spent[stage] += now - self._mark
        self._mark = now
