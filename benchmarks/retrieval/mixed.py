"""Searches beside writes: what either costs the other.

    python -m benchmarks.retrieval.mixed [--points 20000] [--size 512] [--seconds 300] [--readers 2] [--writers 2]

A server of its own holds `--points` clustered vectors. Searches are timed alone for a tenth of the time, then beside
writers that put and delete fifty points at a time over and over, and one client that sends the dearest filter there is,
while `/livez` is asked ten times a second.

- `errors`: answers that are not what the request calls for, of all clients.
- `search_p99_ratio`: p99 of searches beside the others over that of those alone; `livez_max_ms`: the slowest `/livez`.
- `writes`: points written and deleted a second.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson

from amcl_serve.hosting.opening import find_bundle
from benchmarks.processes import serving
from benchmarks.retrieval.__main__ import clustered, ingest, send, show

POINTS = "/collections/a/points"
TOGETHER = 50
DEAREST = {"must_not": [{"key": "group", "range": {"gt": 1000 + number}} for number in range(100)]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where there was an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval.mixed")
    for name, value in (("points", 20_000), ("size", 512), ("seconds", 300), ("readers", 2), ("writers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    vectors = clustered(options.points, options.size, 0)
    with tempfile.TemporaryDirectory(dir=".") as folder, serving(find_bundle("default"), Path(folder)) as server:
        ingest(server.port, vectors)
        crowd = Crowd(server.port, vectors)
        idle = crowd.run(options.seconds / 10, [crowd.search] * options.readers)
        alone = float(np.percentile(idle["search"], 99))
        others: list[Callable[[http.client.HTTPConnection, int], None]] = [
            *[crowd.search] * options.readers,
            *[crowd.write] * options.writers,
            crowd.filter,
            crowd.livez,
        ]
        busy = crowd.run(options.seconds, others)
    show("search_alone_p99_ms", 1000 * alone)
    show("search_p99_ms", 1000 * float(np.percentile(busy["search"], 99)))
    show("search_p99_ratio", float(np.percentile(busy["search"], 99)) / alone)
    show("livez_max_ms", 1000 * max(busy["livez"]))
    show("filter_max_s", max(busy["filter"]))
    show("writes", 2 * TOGETHER * len(busy["write"]) / options.seconds, "points/s")
    show("errors", crowd.errors)
    return 1 if crowd.errors else 0


class Crowd:
    """Clients of one server, each a thread that does one thing over and over."""

    def __init__(self, port: int, vectors: np.ndarray) -> None:
        self._port = port
        self._vectors = vectors
        self._times: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._end = 0.0
        self.errors = 0

    def run(
        self, seconds: float, work: Sequence[Callable[[http.client.HTTPConnection, int], None]]
    ) -> dict[str, list[float]]:
        """The times of each kind of request, in seconds."""
        self._times, self._end = {}, time.monotonic() + seconds
        threads = [threading.Thread(target=self._loop, args=(each, number)) for number, each in enumerate(work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._times

    def _loop(self, work: Callable[[http.client.HTTPConnection, int], None], number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while time.monotonic() < self._end:
            try:
                work(connection, number)
            except Exception as error:  # a benchmark counts whatever goes wrong
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                with self._lock:
                    self.errors += 1
                connection.close()

    def _timed(self, kind: str, began: float) -> None:
        with self._lock:
            self._times.setdefault(kind, []).append(time.perf_counter() - began)

    def search(self, connection: http.client.HTTPConnection, _: int) -> None:
        """The nearest points to one that is there."""
        row = int(np.random.default_rng().integers(len(self._vectors)))
        body = orjson.dumps({"query": self._vectors[row]}, option=orjson.OPT_SERIALIZE_NUMPY)
        began = time.perf_counter()
        found = send(connection, "POST", f"{POINTS}/query", body)["result"]["points"]
        self._timed("search", began)
        assert len(found) == 10
        assert row in [point["id"] % 1_000_000 for point in found]

    def write(self, connection: http.client.HTTPConnection, number: int) -> None:
        """Put points that are like others, and delete them again."""
        rows = np.random.default_rng().integers(0, len(self._vectors), TOGETHER).tolist()
        ids = [1_000_000 * (1 + number) + row for row in dict.fromkeys(rows)]
        points = [{"id": each, "vector": self._vectors[each % 1_000_000]} for each in ids]
        body = orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)
        began = time.perf_counter()
        send(connection, "PUT", POINTS, body)
        send(connection, "POST", f"{POINTS}/delete", {"points": ids})
        self._timed("write", began)

    def filter(self, connection: http.client.HTTPConnection, _: int) -> None:
        """A count that looks at every payload a hundred times; it may be ended."""
        began = time.perf_counter()
        connection.request(
            "POST", f"{POINTS}/count", orjson.dumps({"filter": DEAREST}), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        response.read()
        self._timed("filter", began)
        assert response.status in (200, 504)

    def livez(self, connection: http.client.HTTPConnection, _: int) -> None:
        """Whether the process answers."""
        began = time.perf_counter()
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
        self._timed("livez", began)
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
