"""What `make bench-serving` sends and how it reads and compares what comes back; no server is started."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO

import pytest
from PIL import Image
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from benchmarks.serving.load import FILE_BYTES, HEIGHT, WIDTH, draw_image, median_ratio, parse, rank, write_bodies


@pytest.fixture(scope="module")
def images():
    return [draw_image(seed) for seed in range(3)]


def test_the_drawn_images_are_jpegs_of_the_stated_size_and_differ(images):
    assert len(set(images)) == 3
    assert images[0] == draw_image(0)
    for data in images:
        assert abs(len(data) - FILE_BYTES) < 0.03 * FILE_BYTES
        with Image.open(BytesIO(data)) as image:
            image.load()
            assert (image.format, image.size) == ("JPEG", (WIDTH, HEIGHT))


async def _files(content_type, body):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}
    request = Request(scope, receive)
    form = await MultiPartParser(request.headers, request.stream()).parse()
    return [await file.read() for file in form.getlist("files")]


def test_every_kind_of_body_carries_the_images(images, tmp_path):
    bodies = write_bodies(tmp_path, images)
    assert [file.read_bytes() for file in bodies["raw"].files] == images
    singles = [json.loads(file.read_bytes())["images"] for file in bodies["json"].files]
    assert [[base64.b64decode(text) for text in texts] for texts in singles] == [[image] for image in images]
    many = [images[index % 3] for index in range(32)]
    assert [base64.b64decode(t) for t in json.loads(bodies["json32"].files[0].read_bytes())["images"]] == many
    multipart = bodies["multipart32"]
    assert asyncio.run(_files(multipart.content_type, multipart.files[0].read_bytes())) == many


def _output(**changes):
    found = {"requests": 400, "seconds": 2.0, "p50": 9.5, "p95": 20.0, "p99": 31.0, "errors": 0} | changes
    return f"Running 2s test\nRequests/sec: 200\n{json.dumps(found)}\n"


def test_reads_what_wrk_says():
    load = parse(_output(), cpu_seconds=0.5)
    assert (load.rate, load.p50, load.p95, load.p99, load.cores) == (200, 9.5, 20, 31, 0.25)


@pytest.mark.parametrize("changes", [{"errors": 1}, {"requests": 0}])
def test_a_load_with_failures_gives_no_figure(changes):
    with pytest.raises(RuntimeError, match="failed"):
        parse(_output(**changes), cpu_seconds=0.5)


def test_a_ratio_is_the_median_of_the_rounds():
    assert median_ratio([10.0, 100.0, 9.0], [5.0, 10.0, 9.0]) == 2.0


def test_ties_share_the_better_rank():
    values = {"ours": 2.0, "first": 1.0, "same": 2.0, "last": 3.0}
    assert [rank(name, values) for name in values] == [2, 1, 2, 4]
