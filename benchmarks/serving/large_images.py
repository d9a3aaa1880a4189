"""What memory images of 64 megapixels take when every worker has one: `python -m benchmarks.serving.large_images`.

    python -m benchmarks.serving.large_images [--requests 4] [--model DIR]

A server of its own, with its default settings, gets such images of each kind, twice as many at a time as it has decode
threads, and then all kinds mixed. The memory of the server and its children is read some fifty times a second; what it
holds beyond that of the idle server is printed beside the bound that docs/operations.md states. Exit code 1 above it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import tifffile
from PIL import Image, ImageDraw

from amcl_serve.commands.doctor import decoding_bytes
from amcl_serve.hosting.opening import find_bundle
from amcl_serve.settings import Settings
from benchmarks.processes import MiB, Server, serving

SIDE = 8000  # pixels; 64 million are what the server accepts by default
_PAUSE = 0.02  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4, help="of each client, for each kind of image")
    parser.add_argument("--model", default="default", help="as the server's --model")
    options = parser.parse_args(arguments)
    files = dict(pictures())
    settings = Settings()
    clients = 2 * settings.decode_threads
    bodies = clients * max(map(len, files.values()))
    bound = decoding_bytes(settings) + 2 * bodies  # of a body, and of its copy in a child
    worst = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(find_bundle(options.model), Path(folder)) as server,
        ThreadPoolExecutor(clients) as pool,
    ):
        _send(server, b"", 400)
        idle = memory(server)
        for name, kinds in [*((name, [name]) for name in files), ("all, mixed", list(files))]:
            order = random.Random(0).choices(kinds, k=clients * options.requests)
            with Watch(server) as watch:
                began = time.perf_counter()
                list(pool.map(lambda kind: _send(server, files[kind], 200), order))
            seconds = (time.perf_counter() - began) / len(order)
            worst = max(worst, watch.most - idle)
            print(
                f"{name}: {(watch.most - idle) / MiB:.0f} MiB beyond idle, {seconds:.2f} s an image, {clients} clients",
                flush=True,
            )
    print(f"decode_threads = {settings.decode_threads}")
    print(f"idle_mib = {idle / MiB:.0f}")
    print(f"bound_mib = {bound / MiB:.0f}")
    print(f"peak_mib = {worst / MiB:.0f}")
    print(f"peak_over_bound = {worst / bound:.3f}")
    return int(worst > bound)


def pictures() -> Iterator[tuple[str, bytes]]:
    """(kind, file) of a picture of SIDE x SIDE pixels in each kind of file, small enough to be sent."""
    image = Image.new("RGB", (SIDE, SIDE), "teal")
    draw = ImageDraw.Draw(image)
    random_ = random.Random(0)
    for _ in range(40):
        x, y, r = (random_.randrange(SIDE) for _ in range(3))
        draw.ellipse((x - r // 4, y - r // 4, x + r // 4, y + r // 4), fill=tuple(random_.choices(range(256), k=3)))
    half = image.copy()
    half.putalpha(128)
    yield "JPEG", _saved(image, "JPEG")
    yield "JPEG, progressive", _saved(image, "JPEG", progressive=True)
    yield "JPEG, grey, without its end", _saved(image.convert("L"), "JPEG")[:-2]
    yield "JPEG, CMYK", _saved(image.convert("CMYK"), "JPEG")
    yield "PNG", _saved(image, "PNG", compress_level=1)
    yield "PNG with alpha", _saved(half, "PNG", compress_level=1)
    yield "WebP", _saved(image, "WEBP", method=0)
    yield "WebP, lossless, with alpha", _saved(half, "WEBP", lossless=True, method=0, quality=0)
    yield "GIF", _saved(image.quantize(64), "GIF")
    yield "BMP of one bit", _saved(image.convert("1"), "BMP")
    yield "AVIF", _saved(image, "AVIF", speed=10)
    wide = np.asarray(image).astype(np.uint16) * 257
    stream = BytesIO()
    tifffile.imwrite(stream, wide, photometric="rgb", compression="zlib", compressionargs={"level": 1})
    yield "TIFF, 16 bits", stream.getvalue()


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _send(server: Server, body: bytes, expected: int) -> None:
    response = httpx.post(f"{server.url}/embed", content=body, headers={"content-type": "image/*"}, timeout=120)
    if response.status_code != expected:
        raise RuntimeError(f"{response.status_code}: {response.text[:300]}")


def memory(server: Server) -> float:
    """Bytes of the server and its children, pages that they share counted once."""
    server.peak_shared = 0.0
    server.note_memory()
    return server.peak_shared * MiB


class Watch:
    """Reads the memory over and over meanwhile, and knows the most."""

    def __init__(self, server: Server) -> None:
        self.most = 0.0
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE):
            self.most = max(self.most, memory(self._server))


if __name__ == "__main__":
    sys.exit(main())
