"""The load: drawn photographs, the bodies that carry them, and wrk, which sends the bodies in turn."""

from __future__ import annotations

import base64
import json
import resource
import statistics
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FILE_BYTES = 500, 375, 101_000
IMAGES, MANY = 8, 32  # different images; images of a large request
BODIES = ("json", "raw")  # of one image
MANY_BODIES = ("multipart32", "json32")
_BOUNDARY = "benchmark-boundary"
_SCRIPT = Path(__file__).with_name("load.lua")


def draw_image(seed: int) -> bytes:
    """A JPEG file, quality 90, of shapes on noise, of 101 KB within 3 %: the noise is as strong as that takes."""
    random = np.random.default_rng(seed)
    scene = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(scene)
    for _ in range(12):
        x, y = random.integers(0, (WIDTH, HEIGHT)).tolist()
        w, h = random.integers(20, 150, 2).tolist()
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=tuple(random.integers(0, 256, 3).tolist()))
    noise = random.normal(size=(HEIGHT, WIDTH, 1))
    low, high = 0.0, 64.0
    while True:
        level = (low + high) / 2
        stream = BytesIO()
        noisy = (np.asarray(scene) + level * noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        data = stream.getvalue()
        if abs(len(data) - FILE_BYTES) < 0.03 * FILE_BYTES:
            return data
        low, high = (level, high) if len(data) < FILE_BYTES else (low, level)


def write_bodies(folder: Path, images: list[bytes]) -> dict[str, Bodies]:
    """Every kind of body, written into `folder`."""
    turns = [[images[(first + i) % len(images)] for i in range(MANY)] for first in range(2)]
    contents = {
        "json": ("application/json", [_json([image]) for image in images]),
        "raw": ("image/jpeg", images),
        "multipart32": (f"multipart/form-data; boundary={_BOUNDARY}", [_multipart(many) for many in turns]),
        "json32": ("application/json", [_json(many) for many in turns]),
    }
    bodies = {}
    for kind, (content_type, parts) in contents.items():
        files = [folder / f"{kind}-{index}" for index in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            file.write_bytes(part)
        bodies[kind] = Bodies(content_type, files)
    return bodies


def _json(images: list[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


def _multipart(images: list[bytes]) -> bytes:
    head = 'Content-Disposition: form-data; name="files"; filename="image.jpg"\r\nContent-Type: image/jpeg'
    parts = [f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode() + image + b"\r\n" for image in images]
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Bodies:
    """Bodies of one kind, in files."""

    content_type: str
    files: list[Path]


@dataclass(frozen=True)
class Load:
    """What wrk says of one run; latencies in milliseconds, `cores` wrk's own CPU seconds a second."""

    rate: float  # answers a second
    p50: float
    p95: float
    p99: float
    seconds: float
    cores: float


def send(url: str, bodies: Bodies, *, connections: int, seconds: int) -> Load:
    """Send `bodies` in turn for `seconds` over `connections`, each waiting for its answer; one thread.

    RuntimeError where an answer is no success, because a figure would mean nothing then.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT), url, "--"]
    command += [bodies.content_type, *map(str, bodies.files)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return parse(done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def parse(output: str, cpu_seconds: float) -> Load:
    """A Load of what wrk and `serving.lua` print; RuntimeError for errors, or without any answer."""
    found = json.loads(output.splitlines()[-1])
    if found["errors"] or not found["requests"]:
        raise RuntimeError(f"{found['errors']} requests of {found['requests']} failed: {output.strip()}")
    seconds, requests = found["seconds"], found["requests"]
    return Load(requests / seconds, found["p50"], found["p95"], found["p99"], seconds, cpu_seconds / seconds)


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over rounds of ours over theirs; the rounds pair up what the machine did meanwhile."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def rank(name: str, values: dict[str, float]) -> int:
    """1 if `name` has the lowest of `values`."""
    return 1 + sum(value < values[name] for value in values.values())
