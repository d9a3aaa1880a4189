"""What is under way in an engine: submissions, their images as jobs, and the answers in which both end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError
from amcl_serve.model.encoder import Embeddings


@dataclass(frozen=True, slots=True)
class Embedded:
    """One image's embedding: `features` float32 [D], unnormalised; `heads` float32 [C, d'], unit norm, or [0, 0].

    `thumbnail`, a file, where it was asked for.
    """

    features: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds that the image answered last spent waiting, being decoded and in the encoder; they add up."""

    queue_ms: float
    decode_ms: float
    inference_ms: float


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """One entry an image, in order: its embedding, or the error that concerns it alone."""

    items: list[Embedded | AmclError]
    timing: Timing


def stack(items: Sequence[Embedded]) -> Embeddings:
    """The rows of `items` as one Embeddings; ValueError if there are none."""
    return Embeddings(np.stack([item.features for item in items]), np.stack([item.heads for item in items]))


class Submission:
    """The images of one caller, and where their answers gather. Made on the caller's event loop."""

    __slots__ = ("answered", "items", "loop", "open", "spent", "thumbnails")

    def __init__(self, size: int, *, thumbnails: bool = False) -> None:
        self.thumbnails = thumbnails
        self.items: list[Embedded | AmclError | None] = [None] * size
        self.open = size  # images not yet answered; 0 also when the caller has given up
        self.spent: Sequence[float] = (0.0, 0.0, 0.0)  # of the image answered last
        self.loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = self.loop.create_future()

    def result(self) -> EmbedResult:
        """What the caller gets, once every image has its answer."""
        timing = Timing(*(1000 * seconds for seconds in self.spent))
        return EmbedResult([item for item in self.items if item is not None], timing)


QUEUE, DECODE, INFERENCE = range(3)  # stages of a job


class Job:
    """One image on its way: its bytes, then its pixels, and the seconds it spent in each stage."""

    __slots__ = ("_mark", "data", "index", "pixels", "spent", "submission", "thumbnail")

    def __init__(self, submission: Submission, index: int, data: bytes) -> None:
        self.submission = submission
        self.index = index
        self.data = data
        self.pixels: npt.NDArray[np.uint8] | None = None
        self.thumbnail: bytes | None = None
        self.spent = [0.0, 0.0, 0.0]
        self._mark = perf_counter()

    def lap(self, stage: int) -> None:
        """Count the time since the last lap to `stage`."""
        now = perf_counter()
        self.spent[stage] += now - self._mark
        self._mark = now


def wake(submissions: Iterable[Submission], error: AmclError | None = None) -> None:
    """From any thread: let the callers go on, with `error` if there is one."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Submission]] = defaultdict(list)
    for submission in submissions:
        by_loop[submission.loop].append(submission)
    for loop, theirs in by_loop.items():  # waking a loop is a system call: one for all
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_finish, theirs, error)


def _finish(submissions: Sequence[Submission], error: AmclError | None) -> None:
    for submission in submissions:
        if submission.answered.done():
            continue
        if error is None:
            submission.answered.set_result(None)
        else:
            submission.answered.set_exception(error)
