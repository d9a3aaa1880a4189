"""What an evaluation costs those who send images meanwhile: latencies of /embed without one and beside one, in turn.

    python -m benchmarks.serving.evaluations [--images 3000] [--rounds 3] [--seconds 4]

Clients send one photograph of 500 x 375 each and wait for its answer before the next; a round measures without, then
with, an evaluation of an archive of such photographs on the same server. Prints medians over the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np

from benchmarks.processes import serving
from tests.images import photo

SIZE = (500, 375)


def archive(count: int) -> bytes:
    """A zip of photographs, of which fifty differ by more than a byte."""
    stream = io.BytesIO()
    drawn = [photo(seed, SIZE) for seed in range(50)]
    with zipfile.ZipFile(stream, "w") as packed:
        for number in range(count):
            packed.writestr(f"{number:06d}.jpg", drawn[number % len(drawn)] + number.to_bytes(4, "big"))
    return stream.getvalue()


def latencies(url: str, clients: int, seconds: float) -> list[float]:
    """Milliseconds of each answer."""
    found: list[float] = []
    body, end = photo(99, SIZE), time.monotonic() + seconds

    def send() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            while time.monotonic() < end:
                began = time.perf_counter()
                client.post("/embed", content=body, headers={"content-type": "image/jpeg"}).raise_for_status()
                found.append(1000 * (time.perf_counter() - began))

    threads = [threading.Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args()
    packed = archive(args.images)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving("default", Path(folder)) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=120) as client,
    ):
        for clients in (1, 8):
            rows: dict[str, list[tuple[float, float, float, float]]] = {"without": [], "beside": []}
            rates = []
            for _ in range(args.rounds):
                rows["without"].append(_row(latencies(server.url, clients, args.seconds), args.seconds))
                job = client.post("/evaluations", files={"archive": ("a.zip", packed)}).raise_for_status().json()
                place = f"/evaluations/{job['id']}"
                while (before := client.get(place).json())["progress"]["done"] == 0:
                    time.sleep(0.05)
                rows["beside"].append(_row(latencies(server.url, clients, args.seconds), args.seconds))
                after = client.get(place).json()
                assert after["status"] == "running", f"it was {after['status']}: give it more --images"
                rates.append((after["progress"]["done"] - before["progress"]["done"]) / args.seconds)
                client.delete(place)
                while client.get(place).json()["status"] == "running":
                    time.sleep(0.05)
            for name, found in rows.items():
                p50, p95, p99, rate = (statistics.median(each) for each in zip(*found, strict=True))
                print(f"{clients} clients, {name}: p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} ms, {rate:.0f}/s")
            print(f"  the evaluation meanwhile: {statistics.median(rates):.0f} images a second")


def _row(found: list[float], seconds: float) -> tuple[float, float, float, float]:
    return (*np.percentile(found, (50, 95, 99)).tolist(), len(found) / seconds)


if __name__ == "__main__":
    main()
