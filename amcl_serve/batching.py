"""Engine: from the bytes of many requests to their embeddings, in the largest batches that cost no waiting.

    embed() ──▶ admission ──▶ decode threads ──▶ waiting ──▶ inference thread ──▶ embed() returns
    event loop  all or 429    one image each     pixels      up to max_batch, the moment the session is free

Nothing waits for a batch to fill: while the encoder works, images gather, and the next call takes what has gathered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from amcl_serve import images as decoding
from amcl_serve.encoder import Embeddings, Encoder
from amcl_serve.errors import AmclError, DeadlineExceeded, NotReady, Overloaded, TooManyItems
from amcl_serve.settings import Settings

logger = logging.getLogger(__name__)


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
    guards what they share; `_filled` wakes the inference thread, `_emptied` wakes `stop`.
    """

    def __init__(self, encoder: Encoder, *, settings: Settings) -> None:
        self.on_batch: Callable[[int, float], None] | None = None  # told (images, seconds) of each call of the encoder
        self._encoder = encoder
        self._settings = settings
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._waiting: deque[_Job] = deque()
        self._requests: set[_Request] = set()
        self._depth = 0
        self._accepting = False
        self._ending = False
        self._decoders: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the threads; an engine starts once."""
        assert self._thread is None, "started already"
        self._decoders = ThreadPoolExecutor(self._settings.decode_threads, thread_name_prefix="amcl-decode")
        self._thread = threading.Thread(target=self._run, name="amcl-encode", daemon=True)
        self._thread.start()
        self._accepting = True

    async def stop(self) -> None:
        """Refuse new requests, answer the admitted ones (they have their deadline at most), end the threads."""
        with self._lock:
            self._accepting = False
        if self._thread is not None:
            await asyncio.to_thread(self._drain)

    @property
    def healthy(self) -> bool:
        """Whether requests can be answered: started, not stopping, and the inference thread alive."""
        return self._accepting and self._thread is not None and self._thread.is_alive()

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
        request = _Request(images)
        self._admit(request)
        try:
            async with asyncio.timeout(self._settings.request_deadline):
                await request.answered
        except TimeoutError:
            seconds = self._settings.request_deadline
            raise DeadlineExceeded(f"not answered within {seconds:g} seconds; send fewer images or try later") from None
        finally:
            self._abandon(request)
        return request.result()

    def _admit(self, request: _Request) -> None:
        """Count the whole request in, or none of it, and hand its images to the decoders."""
        size, places = len(request.jobs), self._settings.max_queue_items
        if size > places:
            raise TooManyItems(f"{size} images in one request; the queue holds {places}")
        with self._lock:
            if not self.healthy or self._decoders is None:
                raise NotReady("the encoder is not running: the server is starting, stopping, or has lost it")
            if self._depth + size > places:
                free = places - self._depth
                raise Overloaded(f"the queue has room for {free} more images, not for {size}; try again in a moment")
            self._depth += size
            self._requests.add(request)
        for job in request.jobs:
            self._decoders.submit(self._decode, job)

    def _abandon(self, request: _Request) -> None:
        """Free the places of what is still open of a request, so that it is not worked on; nothing is, if answered."""
        with self._lock:
            if not request.open:
                return
            self._depth -= request.open
            request.open = 0
            self._requests.discard(request)
            self._waiting = deque(job for job in self._waiting if job.request is not request)
            self._emptied.notify_all()

    def _decode(self, job: _Job) -> None:
        """On a decode thread: bytes to pixels, then into the line for the encoder."""
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

    def _run(self) -> None:
        """The inference thread, from `start` to `stop`."""
        try:
            while batch := self._next_batch():
                self._infer(batch)
        except BaseException:
            logger.critical("the inference thread ended; the server is not ready any more", exc_info=True)
        finally:
            with self._lock:
                self._accepting = False
                lost = list(self._requests)
            for request in lost:
                request.wake(NotReady("the encoder stopped before this request was answered"))

    def _next_batch(self) -> list[_Job]:
        """Wait for images and take as many as a batch holds; none when the engine ends."""
        with self._filled:
            self._filled.wait_for(lambda: self._waiting or self._ending)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.max_batch))]

    def _infer(self, batch: list[_Job]) -> None:
        for job in batch:
            job.lap("queue")
        start = perf_counter()
        answers: list[Embedded | AmclError]
        try:
            found = self._encoder.encode(np.stack([job.pixels for job in batch if job.pixels is not None]))
            answers = [Embedded(*row) for row in zip(found.features, found.heads, strict=True)]
            if self.on_batch is not None:
                self.on_batch(len(batch), perf_counter() - start)
        except Exception:  # whatever it is, it belongs to this batch; the thread lives on
            logger.exception("a batch of %d images failed", len(batch))
            answers = [AmclError("the server failed to embed this image; its log says why") for _ in batch]
        for job in batch:
            job.lap("inference")
        self._answer(batch, answers)

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
                    request.last = job
                    self._requests.discard(request)
                    finished.append(request)
            self._emptied.notify_all()
        for request in finished:
            request.wake()

    def _drain(self) -> None:
        assert self._thread is not None and self._decoders is not None  # noqa: PT018
        with self._emptied:
            self._emptied.wait_for(lambda: not self._depth, timeout=self._settings.request_deadline)
            self._ending = True
            self._filled.notify_all()
        self._decoders.shutdown(cancel_futures=True)
        self._thread.join(timeout=self._settings.request_deadline)


class _Request:
    """The images of one call of `embed`, and where their answers gather. Made on the caller's event loop."""

    def __init__(self, images: Sequence[bytes]) -> None:
        self.jobs = [_Job(self, index, data) for index, data in enumerate(images)]
        self.items: list[Embedded | AmclError | None] = [None] * len(images)
        self.open = len(images)  # images not yet answered; 0 also when the caller has given up
        self.last: _Job | None = None  # answered last
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
        assert self.last is not None
        spent = self.last.spent
        timing = Timing(*(1000 * spent[stage] for stage in ("queue", "decode", "inference")))
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
