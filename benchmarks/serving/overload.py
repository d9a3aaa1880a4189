"""What four times the sustainable load does to the server: `make bench-overload`.

    python -m benchmarks.serving.overload [--seconds 60] [--factor 4] [--generators 1] [--model DIR] [--flag=FLAG …]

A server of its own gets small JPEG images, one a request as a raw body. First its peak is sought: open-loop steps of
rising rate, of which the best goodput counts. Then `--factor` times the peak is offered open-loop, by a schedule that
waits for no answer, from processes of their own, whose processor time is printed: on a small machine it is taken from
the server's. Latencies count from the moment a request was due. At the end requests at a tenth of the peak show when
the server answers each at once again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.settings import Settings
from benchmarks.processes import Server, serving
from benchmarks.serving.open_loop import UNANSWERED, Load, Offered, Sent, offer

IMAGES, SIZE = 64, (160, 120)
BUSY = (429, 503)
GROWTH, HALVINGS = 1.4, 3  # of the rate from one step of the search to the next, and steps between the last two
LEAD = 1.5  # seconds that the generators have to start


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parse(arguments)
    bodies = photos()
    print(
        f"{IMAGES} JPEG images of {SIZE[0]} x {SIZE[1]}, {sum(map(len, bodies)) / IMAGES / 1000:.1f} kB each",
        flush=True,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(find_bundle(options.model), Path(folder), *options.flag) as server,
    ):
        bench = Bench(server, bodies, options)
        peak = bench.peak()
        figures = {"peak_requests_per_second": f"{peak:.0f}"} | bench.overload(peak)
    for name, value in figures.items():
        print(f"{name} = {value}")
    return 0


def photos() -> list[bytes]:
    """Small JPEG images with some detail, all different."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(IMAGES):
        smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth).astype(np.int16) + rng.integers(-12, 13, (SIZE[1], SIZE[0], 1))
        stream = BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
        found.append(stream.getvalue())
    return found


class Bench:
    """Loads on one server."""

    def __init__(self, server: Server, bodies: list[bytes], options: argparse.Namespace) -> None:
        self.server = server
        self.bodies = bodies
        self.options = options
        self.port = server.port
        self.deadline = float(Settings.model_fields["request_deadline"].default)

    def peak(self) -> float:
        """The best goodput, in requests a second: of rates that grow until one is too high, then of some in between."""
        goods: list[float] = []
        low = high = self.options.first_rate
        while self._sustained(high, goods):
            low, high = high, GROWTH * high
        for _ in range(HALVINGS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._sustained(middle, goods) else (low, middle)
        return max(goods)

    def _sustained(self, rate: float, goods: list[float]) -> bool:
        """Whether nearly all requests of a step at `rate` are answered in time; their goodput goes to `goods`."""
        offered = self._offer(rate, self.options.step).result()
        goods.append(goodput(_all(offered), self.options.step))
        cpu = sum(part.cpu_seconds for part in offered) / self.options.step
        print(f"offered {rate:.0f}/s: {goods[-1]:.0f}/s answered with 200, generators took {cpu:.2f} cores", flush=True)
        return goods[-1] >= 0.9 * rate

    def overload(self, peak: float) -> dict[str, str]:
        """Figures of `factor` times the peak, and of the return from it."""
        seconds, rate = self.options.seconds, self.options.factor * peak
        server_cpu, began = self.server.cpu_seconds(), time.time()
        loading = self._offer(rate, seconds)
        after = self._offer(max(peak / 10, 20), 5, start=began + LEAD + seconds)
        parts = loading.result()
        sent, back = _all(parts), _all(after.result())
        server_cpu = self.server.cpu_seconds() - server_cpu
        statuses = Counter(one.status for one in sent)
        good = sorted(one.done - one.due for one in sent if one.status == 200)
        late = sorted(one.left - one.due for one in sent)
        cores = sum(part.cpu_seconds for part in parts) / seconds
        wrong = [one for one in sent if one.status not in (200, *BUSY)]
        return {
            "offered_requests_per_second": f"{len(sent) / seconds:.0f}",
            "statuses": ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(statuses.items())),
            "other_statuses": str(sum(one.status != UNANSWERED for one in wrong)),
            "unanswered": str(statuses[UNANSWERED]),
            "busy_without_retry_after": str(sum(one.status in BUSY and not one.retry_after for one in sent)),
            "goodput_over_peak": f"{goodput(sent, seconds) / peak:.3f}",
            "admitted_p50_ms": f"{1000 * _quantile(good, 0.5):.0f}",
            "admitted_p99_ms": f"{1000 * _quantile(good, 0.99):.0f}",
            "deadline_ms": f"{1000 * self.deadline:.0f}",
            "recovery_seconds": f"{recovery(back):.2f}",
            "generator_late_p99_ms": f"{1000 * _quantile(late, 0.99):.0f}",
            "generator_cores": f"{cores:.2f}",
            "server_cores": f"{server_cpu / seconds:.2f}",
        }

    def _offer(self, rate: float, seconds: float, start: float | None = None) -> Future[list[Offered]]:
        begin = time.time() + LEAD if start is None else start
        load = Load(self.port, "/embed", self.bodies, rate, begin, seconds, self.deadline + 5)
        return offer(load, processes=self.options.generators)


def goodput(sent: Sequence[Sent], seconds: float) -> float:
    """Answers with 200 a second, of those that came while the load was on."""
    end = min(one.due for one in sent) + seconds
    return sum(one.status == 200 and one.done <= end for one in sent) / seconds


def recovery(sent: Sequence[Sent]) -> float:
    """Seconds from the end of the load until everything sent from then on was answered with 200; inf if never.

    `sent` are the requests that came after the load.
    """
    ordered = sorted(sent, key=lambda one: one.due)
    bad = [place for place, one in enumerate(ordered) if one.status != 200]
    first = bad[-1] + 1 if bad else 0
    return ordered[first].done - ordered[0].due if first < len(ordered) else float("inf")


def _all(parts: Sequence[Offered]) -> list[Sent]:
    return [one for part in parts for one in part.sent]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.overload", description="Overload a server of ours."
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (default: 60)")
    parser.add_argument("--factor", type=float, default=4.0, help="times the peak (default: 4)")
    parser.add_argument("--step", type=float, default=5.0, help="seconds of a step of the search for the peak")
    parser.add_argument("--first-rate", type=float, default=100.0, help="requests a second of the first step")
    parser.add_argument("--generators", type=int, default=1, help="processes that send")
    parser.add_argument("--model", default="default", help="as the server's --model")
    parser.add_argument("--flag", action="append", default=[], help="a flag of the server: --flag=--max-batch=16")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
