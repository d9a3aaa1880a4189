"""The bound: the server's own decode and session calls in a plain loop on all cores, without HTTP, queues or JSON.

Laid out in three ways, of which the fastest is the bound: a process a core, a thread a core, and a pool of decoding
threads one batch ahead of a session with a thread a core. Beside it the speed of int8 against the other encoder.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import numpy.typing as npt

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.model.bundle import Bundle, Precision
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pixels import decode

BATCH = 32
MAX_PIXELS = 64_000_000
_WARM_UP = 0.5  # seconds


def by_processes(bundle: str, images: Sequence[bytes], cores: int, seconds: float) -> float:
    """Images a second of a process a core that decodes a batch, embeds it with one thread, and goes on."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores)
    with context.Pool(cores, _share, (barrier,)) as pool:
        rates = pool.starmap(_alone, [(bundle, images, seconds)] * cores, chunksize=1)
    return sum(rates)


def by_threads(bundle: str, images: Sequence[bytes], cores: int, seconds: float) -> float:
    """The same of threads, which share a session."""
    encoder = _encoder(bundle, 1)
    with ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(lambda _: _loop(encoder, images, seconds), range(cores)))


def pipelined(bundle: str, images: Sequence[bytes], cores: int, seconds: float) -> float:
    """Images a second of decoding threads that work on the next batch while a session embeds one with all cores."""
    encoder, source = _encoder(bundle, cores), cycle(images)
    with ThreadPoolExecutor(cores) as pool:

        def ahead() -> Iterator[npt.NDArray[np.uint8]]:
            return pool.map(lambda data: _pixels(encoder, data), [next(source) for _ in range(BATCH)])

        following = ahead()

        def step() -> None:
            nonlocal following
            current, following = following, ahead()
            encoder.encode(np.stack(list(current)))

        return _rate(step, seconds)


LAYOUTS: dict[str, Callable[[str, Sequence[bytes], int, float], float]] = {
    "processes": by_processes,
    "threads": by_threads,
    "pipeline": pipelined,
}


def encoder_speeds(bundle: Bundle, precisions: Sequence[Precision], cores: int, seconds: float) -> dict[str, float]:
    """Images a second of each encoder in this process, a thread a core, batches of 32; medians of nine short turns."""
    encoders = {p: Encoder.load(bundle, precision=p, session_threads=cores) for p in precisions}
    size = bundle.card.input.size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)
    rates: dict[str, list[float]] = {p: [] for p in precisions}
    for _ in range(9):
        for precision, encoder in encoders.items():
            rates[precision].append(_rate(lambda encoder=encoder: encoder.encode(pixels), seconds / 9, warm_up=0.1))
    return {precision: statistics.median(found) for precision, found in rates.items()}


_barrier: multiprocessing.synchronize.Barrier


def _share(barrier: multiprocessing.synchronize.Barrier) -> None:
    global _barrier
    _barrier = barrier


def _alone(bundle: str, images: Sequence[bytes], seconds: float) -> float:
    encoder = _encoder(bundle, 1)
    _barrier.wait()  # all at once
    return _loop(encoder, images, seconds)


def _loop(encoder: Encoder, images: Sequence[bytes], seconds: float) -> float:
    source = cycle(images)

    def step() -> None:
        encoder.encode(np.stack([_pixels(encoder, next(source)) for _ in range(BATCH)]))

    return _rate(step, seconds)


def _rate(step: Callable[[], object], seconds: float, warm_up: float = _WARM_UP) -> float:
    """Images a second of `step`, which embeds a batch."""
    began = time.perf_counter()
    while time.perf_counter() - began < warm_up:
        step()
    began, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        step()
        steps += 1
    return steps * BATCH / spent


def _encoder(bundle: str, threads: int) -> Encoder:
    return Encoder.load(Bundle.open(find_bundle(bundle), verify=False), precision="int8", session_threads=threads)


def _pixels(encoder: Encoder, data: bytes) -> npt.NDArray[np.uint8]:
    return decode(data, encoder.bundle.card.input, max_pixels=MAX_PIXELS)
