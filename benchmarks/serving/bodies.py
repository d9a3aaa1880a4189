"""What large bodies cost: forms of several megabytes, and requests whose clients leave.

    python -m benchmarks.serving.bodies [--rounds 25] [--model DIR]

- `multipart_over_raw`: time of a form of eight images of 3 MB over that of one raw image of as many bytes, whose pixels
  are the same; each round sends both, and the median counts.
- `abandoned_peak_mib`, `abandoned_left_mib`: memory beyond that of the idle server while forty clients send 32 MiB each
  at once and leave before the answer, and three seconds later; the third time of three.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import httpx

from amcl_serve.hosting.opening import find_bundle
from benchmarks.processes import MiB, Server, serving
from benchmarks.serving.load import draw_image

IMAGES, BYTES = 8, 3_000_000
CLIENTS, ABANDONED = 40, 4 * MiB  # of each of the eight images
_REPEATS, _SECONDS = 3, 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--model", default="default", help="as the server's --model")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, serving(find_bundle(options.model), Path(folder)) as server:
        form, raw = _form(BYTES), (_padded(IMAGES * BYTES), "image/jpeg")
        times = [(_seconds(server, *form), _seconds(server, *raw)) for _ in range(options.rounds)]
        print(f"multipart_ms = {1000 * median(one for one, _ in times):.0f}")
        print(f"raw_ms = {1000 * median(one for _, one in times):.0f}")
        print(f"multipart_over_raw = {median(one / other for one, other in times):.2f}")
        idle = server.resident()
        for _ in range(_REPEATS):
            peak, left = abandon(server)
        print(f"idle_mib = {idle / MiB:.0f}")
        print(f"abandoned_peak_mib = {(peak - idle) / MiB:.0f}")
        print(f"abandoned_left_mib = {(left - idle) / MiB:.0f}")
    return 0


def abandon(server: Server) -> tuple[int, int]:
    """The most resident bytes while clients leave their requests, and those some seconds later."""
    body, content_type = _form(ABANDONED)
    head = f"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"

    def leave() -> None:
        connection = socket.create_connection(("127.0.0.1", server.port))
        with connection, contextlib.suppress(OSError):  # refused while it sends
            connection.sendall(head.encode() + body)

    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, server.resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(CLIENTS):
            pool.submit(leave)
    time.sleep(_SECONDS)
    ended.set()
    watcher.join()
    return peak, server.resident()


def _form(size: int) -> tuple[bytes, str]:
    """The body of eight images of `size` bytes, and its content type."""
    image = _padded(size)
    request = httpx.Request("POST", "http://x", files=[("files", ("a.jpg", image, "image/jpeg"))] * IMAGES)
    return request.read(), request.headers["content-type"]


def _padded(size: int) -> bytes:
    image = draw_image(0)
    return image + bytes(size - len(image))


def _seconds(server: Server, body: bytes, content_type: str) -> float:
    began = time.perf_counter()
    response = httpx.post(f"{server.url}/embed", content=body, headers={"content-type": content_type}, timeout=60)
    spent = time.perf_counter() - began
    if response.status_code != 200:
        raise RuntimeError(f"{response.status_code}: {response.text[:300]}")
    return spent


if __name__ == "__main__":
    sys.exit(main())
