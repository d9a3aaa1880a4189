"""What a call of the Python client costs beside plain httpx, which sends the same bytes and reads the same answer.

    python -m benchmarks.serving.client_cost [--blocks 15] [--seconds 0.3]

A server of this process's own making answers at once, over a socket of 127.0.0.1, with the answer of a small model:
/embed for one raw image, and /similarity for one pair. `cost_…` is the median over blocks, in turns, of the client's
time of a call over httpx's.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import socket
import time
from collections.abc import Awaitable, Callable
from statistics import median

import httpx
import numpy as np
import orjson

from amcl_serve.client import AsyncClient, Client

IMAGE = b"\xff" * 10_000
HEADERS = {"accept": "application/x-npy", "content-type": "application/octet-stream"}
EMBED = {"outputs": "features", "normalize": "false", "dtype": "float32"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=15, help="of either side")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a block")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = multiprocessing.get_context("fork").Process(target=_serve, args=[listener], daemon=True)
    server.start()
    try:
        for name, ratio, ours, plain in (*blocking(url, options), *asyncio.run(awaited(url, options))):
            print(f"{name} = {ratio:.3f} ({1e6 * ours:.0f} and {1e6 * plain:.0f} us)")
    finally:
        server.terminate()


Row = tuple[str, float, float, float]


def blocking(url: str, options: argparse.Namespace) -> list[Row]:
    """Client beside httpx.Client."""
    with Client(url) as ours, httpx.Client(base_url=url, trust_env=False) as plain:
        calls = {
            "embed": (lambda: ours.embed([IMAGE]), lambda: _vectors(plain.post("/embed", **_embed()))),
            "similarity": (
                lambda: ours.similarity([IMAGE], [IMAGE]),
                lambda: orjson.loads(plain.post("/similarity", **_pair()).content),
            ),
        }
        return [
            _ratio(name, [(_timed(first, options), _timed(second, options)) for _ in range(options.blocks)])
            for name, (first, second) in calls.items()
        ]


async def awaited(url: str, options: argparse.Namespace) -> list[Row]:
    """AsyncClient beside httpx.AsyncClient."""
    async with AsyncClient(url) as ours, httpx.AsyncClient(base_url=url, trust_env=False) as plain:

        async def embed() -> None:
            _vectors(await plain.post("/embed", **_embed()))

        async def similarity() -> None:
            orjson.loads((await plain.post("/similarity", **_pair())).content)

        calls: dict[str, tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]] = {
            "embed": (lambda: ours.embed([IMAGE]), embed),
            "similarity": (lambda: ours.similarity([IMAGE], [IMAGE]), similarity),
        }
        rows = []
        for name, (first, second) in calls.items():
            pairs = [(await _awaited(first, options), await _awaited(second, options)) for _ in range(options.blocks)]
            rows.append(_ratio(f"{name}_awaited", pairs))
        return rows


def _embed() -> dict[str, object]:
    return {"content": IMAGE, "params": EMBED, "headers": HEADERS}


def _pair() -> dict[str, object]:
    return {"files": [("a", ("image", IMAGE)), ("b", ("image", IMAGE))]}


def _vectors(response: httpx.Response) -> np.ndarray:
    return np.load(io.BytesIO(response.raise_for_status().content), allow_pickle=False)


def _timed(call: Callable[[], object], options: argparse.Namespace) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + options.seconds:
        call()
        count += 1
    return (time.perf_counter() - began) / count


async def _awaited(call: Callable[[], Awaitable[object]], options: argparse.Namespace) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + options.seconds:
        await call()
        count += 1
    return (time.perf_counter() - began) / count


def _ratio(name: str, pairs: list[tuple[float, float]]) -> Row:
    return f"cost_{name}", median(a / b for a, b in pairs), median(a for a, _ in pairs), median(b for _, b in pairs)


def _serve(listener: socket.socket) -> None:
    """Answers every request of a connection at once, as far as HTTP goes that httpx speaks."""
    stream = io.BytesIO()
    np.save(stream, np.ones((1, 512), np.float32))
    heads = [0.5, 0.5, 0.5]
    pair = {"index": 0, "feature_similarity": 0.5, "head_similarity": heads, "temperature": heads, "score": 0.5,
            "uncertainty": 0.1, "probability": 0.5, "same": True}  # fmt: skip
    body = json.dumps({"model": "m", "digest": "d", "mode": "pairs", "data": [pair]}).encode()
    answers = {b"/embed": stream.getvalue(), b"/simil": body}

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:  # it has closed
                writer.close()
                return
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            answer = answers[head.split(b" ", 2)[1][:6]]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    async def run() -> None:
        server = await asyncio.start_server(connection, sock=listener)
        await server.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
