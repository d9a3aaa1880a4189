"""Engine: from the bytes of many requests to their embeddings, in batches that cost no waiting.

    embed() ──▶ admission ──▶ undecoded ──▶ a worker decodes ──▶ waiting ──▶ a worker embeds ──▶ embed() returns
    event loop  all or 429    bytes         one image            pixels      a batch

Each worker, whenever it is free, embeds what waits or decodes the next image; no timer is involved. What it prefers
depends on who does the embedding. A device works beside the cores: it gets all that waits the moment it is free. A CPU
encoder works on the very cores that decode, and costs less an image in batches: while images are left to decode,
some gather first.

A fault takes readiness away and loses the requests that it met (503); a dead worker is replaced and a failed session
opened again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt

from amcl_serve.engine.submissions import DECODE, INFERENCE, QUEUE, Embedded, EmbedResult, Job, Submission, Timing, wake
from amcl_serve.engine.workers import Workers
from amcl_serve.errors import AmclError, DeadlineExceeded, NotReady, Overloaded, TooManyItems
from amcl_serve.model import pixels as decoding
from amcl_serve.model.encoder import Embeddings, Encoder
from amcl_serve.model.providers import CPU
from amcl_serve.model.thumbnails import thumbnail
from amcl_serve.settings import Settings

logger = logging.getLogger(__name__)

CPU_BATCH = 8  # images of a call on a CPU: 32 cost only 4 % less each, and keep a core from what has come since
_RETRY, _LONGEST_RETRY = 0.1, 10.0  # seconds between attempts to open a session again; doubled each time


def batch_sizes(max_batch: int) -> list[int]:
    """1, 2, 4, … and `max_batch`: the sizes that a device gets, and that a model is warmed up with."""
    return [1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch] + [max_batch]


class Engine:
    """Admission, decoding and batching around one encoder.

    Event loops (`embed`) and workers meet here. `_lock` guards what they share; `_work` wakes workers, `_emptied`
    `stop`.
    """

    def __init__(self, encoder: Encoder, *, settings: Settings) -> None:
        self.on_batch: Callable[[int, float], None] | None = None  # told (images, seconds) of each call of the encoder
        self._encoder = encoder
        self._settings = settings
        self._on_cpu = on_cpu = encoder.provider == CPU
        self._most = min(CPU_BATCH, settings.max_batch) if on_cpu else settings.max_batch  # images of a call
        self._enough = self._most if on_cpu else 1  # for a call, while there are images to decode
        self._calls = max(1, settings.decode_threads // encoder.session_threads) if on_cpu else 1  # at a time
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._undecoded: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._depth = 0
        self._calling = 0
        self._accepting = False
        self._suspect = False  # a call failed, and the encoder has not proved itself since
        self._recovering = False  # a worker sees to that
        self._broken = False  # the encoder failed its probe and has not been opened again
        self._ended = threading.Event()
        self._workers = Workers("amcl-work", settings.decode_threads + (0 if on_cpu else 1), self._serve)

    async def start(self) -> None:
        """Start the workers; an engine starts once."""
        assert not self._workers.alive, "started already"
        self._workers.start()
        self._accepting = True

    async def stop(self) -> None:
        """Refuse new requests, answer the admitted ones (they have their deadline at most), end the workers."""
        with self._lock:
            started, self._accepting = self._accepting, False
        if started:
            await asyncio.to_thread(self._drain)

    @property
    def healthy(self) -> bool:
        """Whether requests can be answered: started, not stopping, every worker alive and the encoder in order."""
        return self._accepting and not self._broken and self._workers.alive

    @property
    def depth(self) -> int:
        """Images admitted and not yet answered."""
        return self._depth

    @property
    def decoded(self) -> int:
        """Of those, the images that are pixels and wait for a call of the encoder."""
        return len(self._waiting)

    async def embed(self, images: Sequence[bytes], *, thumbnails: bool = False) -> EmbedResult:
        """Embed `images`, each the bytes of a file; errors of one image are in its place of the result.

        `thumbnails` are made of them too.

        Raises for the whole request: NotReady (not started, stopping, or lost to a fault), Overloaded (not all of it
        finds a place in the queue), TooManyItems (it never could) or DeadlineExceeded. A caller that gives up, by
        cancellation or deadline, frees its places at once; what has not started of it is dropped.
        """
        if not images:
            return EmbedResult([], Timing(0.0, 0.0, 0.0))
        submission = Submission(len(images), thumbnails=thumbnails)
        self._admit(submission, images)
        try:
            async with asyncio.timeout(self._settings.request_deadline):
                await submission.answered
        except TimeoutError:
            seconds = self._settings.request_deadline
            raise DeadlineExceeded(f"not answered within {seconds:g} seconds; send fewer images or try later") from None
        finally:
            self._abandon(submission)
        return submission.result()

    def _admit(self, submission: Submission, images: Sequence[bytes]) -> None:
        """Count the whole request in, or none of it, and give its images to the workers."""
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
            self._undecoded.extend(Job(submission, index, data) for index, data in enumerate(images))
            self._work.notify(size)

    def _abandon(self, submission: Submission) -> None:
        """Free the places of what is still open of a request, so that it is not worked on; nothing is, if answered."""
        if not submission.open:
            return
        with self._lock:
            self._depth -= submission.open
            submission.open = 0
            for line in (self._undecoded, self._waiting):  # their bytes and pixels go at once
                kept = [job for job in line if job.submission is not submission]
                line.clear()
                line.extend(kept)
            self._emptied.notify_all()

    def _serve(self) -> None:
        """A worker, from `start` to `stop`."""
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do: an image to decode, a batch to embed, an encoder to mend; None: the end."""
        with self._work:
            while True:
                if self._suspect and not self._recovering and not self._ended.is_set():
                    self._recovering = True
                    return self._recover
                if self._can_call():
                    batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
                    self._calling += 1
                    return partial(self._infer, batch)
                if self._undecoded:
                    return partial(self._decode, self._undecoded.popleft())
                if self._ended.is_set():
                    return None
                self._work.wait()

    def _can_call(self) -> bool:
        ready = len(self._waiting) >= self._enough or (self._waiting and not self._undecoded)
        return bool(ready) and self._calling < self._calls and not self._suspect

    def _decode(self, job: Job) -> None:
        """Bytes to pixels, then into the line for the encoder."""
        if not job.submission.open:
            return  # the caller has given up
        job.lap(QUEUE)
        spec, settings = self._encoder.bundle.card.input, self._settings
        try:
            job.pixels = decoding.decode(
                job.data, spec, max_pixels=settings.max_pixels, accept_truncated=settings.accept_truncated
            )
            if job.submission.thumbnails:
                job.thumbnail = thumbnail(
                    job.data, max_pixels=settings.max_pixels, accept_truncated=settings.accept_truncated
                )
        except AmclError as error:
            job.lap(DECODE)
            self._answer([job], [error])
            return
        except BaseException as error:
            self._answer([job], [AmclError("the server failed to decode this image; its log says why")])
            if not isinstance(error, Exception):
                raise
            logger.exception("an image failed to decode in a way that no image should")
            return
        job.lap(DECODE)
        job.data = b""
        with self._lock:
            if job.submission.open:
                self._waiting.append(job)
        if self._broken:
            self._lose_all()

    def _infer(self, batch: list[Job]) -> None:
        """Pixels to embeddings; a batch that fails is lost, and the encoder has to prove itself."""
        try:
            for job in batch:
                job.lap(QUEUE)
            found = self._call(batch)
            for job in batch:
                job.lap(INFERENCE)
            rows = zip(found.features, found.heads, strict=True)
            self._answer(batch, [Embedded(*row, job.thumbnail) for job, row in zip(batch, rows, strict=False)])
        except BaseException as error:
            _lose(batch)
            if not isinstance(error, Exception):
                raise
            logger.exception("a batch of %d images failed", len(batch))

    def _call(self, batch: Sequence[Job]) -> Embeddings:
        """One call of the encoder; another may begin while the answers of this one are given out."""
        start, failed = perf_counter(), True
        try:
            found = self._encoder.encode(self._stacked(batch))
            failed = False
        finally:
            with self._lock:
                self._calling -= 1
                self._suspect |= failed
                if self._waiting:
                    self._work.notify()
        if self.on_batch is not None:
            self.on_batch(len(batch), perf_counter() - start)
        return found

    def _stacked(self, batch: Sequence[Job]) -> npt.NDArray[np.uint8]:
        """The batch's pixels [N, S, S, 3]; for a device N is one of `batch_sizes`, for it prepares for each N anew."""
        rows = len(batch) if self._on_cpu else min(1 << (len(batch) - 1).bit_length(), self._most)
        pixels = [job.pixels for job in batch if job.pixels is not None]
        return np.stack([*pixels, *[pixels[0]] * (rows - len(batch))])

    def _recover(self) -> None:
        """Go on once the probe succeeds, with a new session where this one fails it; until then readiness is off.

        No image is to blame for a failed batch: to the encoder all are alike.
        """
        again, pause = self._broken, _RETRY
        try:
            while not self._ended.is_set():
                try:
                    if again:
                        self._encoder.reopen()
                    self._encoder.verify_probe()
                except Exception:
                    logger.exception("the encoder does not work; it is opened again in %.1f s", pause)
                else:
                    self._broken = self._suspect = False
                    return
                self._broken, again = again, True
                if self._broken:
                    self._lose_all()
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_RETRY)
        finally:  # should the worker die here, another goes on
            with self._lock:
                self._recovering = False
                self._work.notify_all()

    def _lose_all(self) -> None:
        """What has been admitted is not kept waiting for an encoder that may not come back."""
        with self._lock:
            jobs = [*self._undecoded, *self._waiting]
            self._undecoded.clear()
            self._waiting.clear()
        _lose(jobs)

    def _answer(self, jobs: Sequence[Job], answers: Sequence[Embedded | AmclError]) -> None:
        """Note the answers and wake the requests that now have all of theirs."""
        finished: list[Submission] = []
        with self._lock:
            for job, answer in zip(jobs, answers, strict=True):
                submission = job.submission
                if not submission.open:
                    continue
                submission.items[job.index] = answer
                submission.open -= 1
                self._depth -= 1
                if not submission.open:
                    submission.spent = job.spent
                    finished.append(submission)
            if not self._depth:
                self._emptied.notify_all()
        wake(finished)

    def _drain(self) -> None:
        with self._emptied:
            self._emptied.wait_for(lambda: not self._depth, timeout=self._settings.request_deadline)
            self._ended.set()
            self._work.notify_all()
        self._workers.join(self._settings.request_deadline)


def _lose(jobs: Sequence[Job]) -> None:
    """Let the callers of jobs go on that nobody will finish."""
    fault = NotReady("the server lost this request to a fault, and is setting up again; send it again")
    wake({job.submission for job in jobs}, fault)
