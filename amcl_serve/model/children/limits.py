"""What one image may cost a child: memory, processor time and time on the clock, by the pixels that it may have."""

from __future__ import annotations

import contextlib
import resource
import signal
from pathlib import Path

MiB = 1024 * 1024
_MEMORY, _BYTES_A_PIXEL = 256 * MiB, 16  # TIFF of 16-bit RGB in one strip takes 10 bytes a pixel, AVIF 12
_SECONDS, _PIXELS_A_SECOND = 5.0, 4e6  # the slowest, AVIF, decodes some 20 million pixels in a second


def processor_seconds(max_pixels: int) -> float:
    """Of one image: 21 with 64 million pixels."""
    return _SECONDS + min(max_pixels, 10**9) / _PIXELS_A_SECOND


def clock_seconds(max_pixels: int) -> float:
    """Of one image, from the first byte sent to the last one received: other work may be in its way."""
    return 1.5 * processor_seconds(max_pixels)


class Limits:
    """This process's own limits, set anew for each image."""

    def __init__(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._memory = _virtual_memory()
        with contextlib.suppress(OSError):  # where memory is short the child goes, not the server
            Path("/proc/self/oom_score_adj").write_text("1000")

    def set(self, length: int, max_pixels: int) -> None:
        """For a file of `length` bytes. Beyond memory malloc fails; beyond the others the process ends by a signal."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = used.ru_utime + used.ru_stime + processor_seconds(max_pixels)
        _limit(resource.RLIMIT_CPU, int(seconds) + 1)
        if self._memory:
            _limit(resource.RLIMIT_AS, self._memory + _MEMORY + 4 * length + _BYTES_A_PIXEL * min(max_pixels, 10**9))
        # Where the other side has gone, nobody else ends a child that hangs.
        signal.setitimer(signal.ITIMER_REAL, clock_seconds(max_pixels) + 1)

    def rest(self) -> None:
        """Until the next image, which may take its time to come."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(which: int, soft: int) -> None:
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _virtual_memory() -> int:
    """Bytes of this process's address space now; 0 where the system does not say (and does not limit it either)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
