"""Whether the server's memory stays where it is under half an hour of mixed load: `make soak`.

    python -m benchmarks.serving.soak [--minutes 30] [--clients 6] [--model DIR]

A server of its own answers everything that it can be asked, from a seeded mix: images as raw bodies, JSON and
multipart, one and many, good and bad; pairs; writing, searching, paging and deleting points of a collection whose size
stays within bounds; and OpenAI's route where the server has it. Resident memory is read every second. The medians of
minutes 10 to 15 and 25 to 30 (of a shorter run: of the same parts) and their ratio are printed at the end. An answer
with a status that its request cannot explain is counted as unexpected.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import statistics
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from amcl_serve.hosting.opening import find_bundle
from benchmarks.processes import MiB, Server, serving
from benchmarks.serving.overload import photos

EARLY, LATE = (10 / 30, 15 / 30), (25 / 30, 1.0)  # parts of the run
COLLECTION, POINTS = "/collections/soak", 2000
BATCH = 32
Call = Callable[["Client"], Awaitable[httpx.Response]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where an answer was unexpected."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder, serving(find_bundle(options.model), Path(folder)) as server:
        seen, answers = asyncio.run(soak(server, options))
    seconds = 60 * options.minutes
    early, late = (_median(seen, part, seconds) for part in (EARLY, LATE))
    unexpected = {key: count for key, count in answers.items() if key.startswith("unexpected")}
    for key, count in sorted(answers.items()):
        print(f"{count:8} {key}")
    figures = {
        "requests": str(sum(answers.values())),
        "unexpected_answers": str(sum(unexpected.values())),
        "rss_early_mib": f"{early / MiB:.1f}",
        "rss_late_mib": f"{late / MiB:.1f}",
        "rss_growth_mib": f"{(late - early) / MiB:.1f}",
        "rss_growth": f"{late / early:.4f}",
    }
    for name, value in figures.items():
        print(f"{name} = {value}")
    return 1 if unexpected else 0


async def soak(server: Server, options: argparse.Namespace) -> tuple[list[tuple[float, int]], Counter[str]]:
    """Memory by second since the start, and how often each kind of request was answered with each status."""
    answers: Counter[str] = Counter()
    seen: list[tuple[float, int]] = []
    began = time.monotonic()
    end = began + 60 * options.minutes
    images = photos()
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        clients = [Client(http, images, answers, random.Random(number)) for number in range(options.clients)]
        await clients[0].prepare()
        tasks = [asyncio.create_task(client.run(end)) for client in clients]
        while (now := time.monotonic()) < end:
            seen.append((now - began, server.resident()))
            if len(seen) % 60 == 0:
                minute = [size for when, size in seen[-60:]]
                print(f"minute {len(seen) // 60}: {statistics.median(minute) / MiB:.1f} MiB", flush=True)
            await asyncio.sleep(1)
        await asyncio.gather(*tasks)
    return seen, answers


class Client:
    """Sends one request after another, drawn from all that there are."""

    def __init__(
        self, http: httpx.AsyncClient, images: Sequence[bytes], answers: Counter[str], rng: random.Random
    ) -> None:
        self.http = http
        self.images = images
        self.answers = answers
        self.rng = rng
        self.dim = 0
        self.calls: list[tuple[str, int, Call, tuple[int, ...]]] = [
            ("raw", 8, Client.raw, (200,)),
            ("npy", 2, Client.npy, (200,)),
            ("json", 4, Client.json, (200,)),
            ("form", 4, Client.form, (200,)),
            ("batch json", 1, Client.batch_json, (200,)),
            ("batch form", 1, Client.batch_form, (200,)),
            ("bad", 3, Client.bad, (400, 413, 415)),
            ("pairs", 2, Client.pairs, (200,)),
            ("cross", 1, Client.cross, (200,)),
            ("write vectors", 2, Client.write_vectors, (200,)),
            ("write image", 1, Client.write_image, (200,)),
            ("query vector", 2, Client.query_vector, (200,)),
            ("query image", 2, Client.query_image, (200,)),
            ("scroll", 1, Client.scroll, (200,)),
            ("delete", 1, Client.delete, (200,)),
            ("other", 1, Client.other, (200,)),
        ]

    async def prepare(self) -> None:
        """Make the collection."""
        (await self.http.put(COLLECTION, json={"vectors": {"distance": "Cosine"}})).raise_for_status()

    async def run(self, end: float) -> None:
        """Send until `end`."""
        (model,) = (await self.http.get("/models")).json()["data"]
        self.dim = model["dim"]
        if "/v1/embeddings" in (await self.http.get("/openapi.json")).json()["paths"]:
            self.calls.append(("openai", 3, Client.openai, (200,)))
        weights = [weight for _, weight, _, _ in self.calls]
        while time.monotonic() < end:
            name, _, call, expected = self.rng.choices(self.calls, weights)[0]
            try:
                status = str((answer := await call(self)).status_code)
                as_expected = answer.status_code in expected
            except httpx.TransportError as error:
                status, as_expected = type(error).__name__, False
            self.answers[f"{'' if as_expected else 'unexpected: '}{name} {status}"] += 1

    def image(self) -> bytes:
        return self.rng.choice(self.images)

    def text(self) -> str:
        return base64.b64encode(self.image()).decode()

    def files(self, name: str, count: int) -> list[tuple[str, tuple[str, bytes, str]]]:
        return [(name, (f"{i}.jpg", self.image(), "image/jpeg")) for i in range(count)]

    def vector(self) -> list[float]:
        return [self.rng.gauss(0, 1) for _ in range(self.dim)]

    def ids(self, count: int) -> list[int]:
        return [self.rng.randrange(POINTS) for _ in range(count)]

    async def raw(self) -> httpx.Response:
        return await self.http.post("/embed", content=self.image(), headers={"content-type": "image/jpeg"})

    async def npy(self) -> httpx.Response:
        return await self.http.post("/embed", files=self.files("files", 4), headers={"accept": "application/x-npy"})

    async def json(self) -> httpx.Response:
        return await self.http.post("/embed", json={"images": [self.text()], "outputs": ["features", "heads"]})

    async def form(self) -> httpx.Response:
        return await self.http.post("/embed", files=self.files("files", 1), data={"normalize": "true"})

    async def batch_json(self) -> httpx.Response:
        texts = [self.text() for _ in range(BATCH)] + [base64.b64encode(self.image()[:500]).decode(), "?"]
        return await self.http.post("/embed", json={"images": texts})

    async def batch_form(self) -> httpx.Response:
        return await self.http.post("/embed", files=self.files("files", BATCH))

    async def bad(self) -> httpx.Response:
        whole = self.image()
        header = b"IHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0"  # 65,535 x 65,535
        bomb = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header))
        bomb += b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        data = self.rng.choice((b"", whole[:2000], whole[:20], b"<svg/>", self.rng.randbytes(5000), bomb))
        return await self.http.post("/embed", content=data, headers={"content-type": "image/jpeg"})

    async def pairs(self) -> httpx.Response:
        return await self.http.post("/similarity", json={"a": [self.text()], "b": [self.text()]})

    async def cross(self) -> httpx.Response:
        return await self.http.post("/similarity?mode=cross", files=self.files("a", 3) + self.files("b", 4))

    async def write_vectors(self) -> httpx.Response:
        points = [{"id": number, "vector": self.vector(), "payload": {"n": number}} for number in self.ids(8)]
        return await self.http.put(f"{COLLECTION}/points", json={"points": points})

    async def write_image(self) -> httpx.Response:
        (number,) = self.ids(1)
        return await self.http.put(f"{COLLECTION}/points", json={"points": [{"id": number, "image": self.text()}]})

    async def query_vector(self) -> httpx.Response:
        wanted: dict[str, Any] = {"query": self.vector(), "limit": 10, "with_payload": True}
        return await self.http.post(f"{COLLECTION}/points/query", json=wanted)

    async def query_image(self) -> httpx.Response:
        return await self.http.post(f"{COLLECTION}/points/query", json={"query": {"image": self.text()}})

    async def scroll(self) -> httpx.Response:
        return await self.http.post(f"{COLLECTION}/points/scroll", json={"limit": 50, "with_vector": True})

    async def delete(self) -> httpx.Response:
        return await self.http.post(f"{COLLECTION}/points/delete", json={"points": self.ids(4)})

    async def other(self) -> httpx.Response:
        return await self.http.get(self.rng.choice(("/metrics", "/readyz", "/models", "/collections", "/openapi.json")))

    async def openai(self) -> httpx.Response:
        wanted = {"model": "default", "input": [f"data:image/jpeg;base64,{self.text()}"]}
        return await self.http.post("/v1/embeddings", json=wanted)


def _median(seen: Sequence[tuple[float, int]], part: tuple[float, float], seconds: float) -> float:
    return statistics.median(size for when, size in seen if part[0] * seconds <= when <= part[1] * seconds)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.soak", description="Mixed load, and memory by minute."
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument("--clients", type=int, default=6, help="requests under way at a time (default: 6)")
    parser.add_argument("--model", default="default", help="as the server's --model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
