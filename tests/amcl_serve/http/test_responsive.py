"""The event loop answers others at once while each route works on the worst request that it permits."""

from __future__ import annotations

import base64
import http.client
import json
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import Server, serving
from tests.amcl_serve.http.conftest import picture

MOST = 0.1  # seconds
TRIES = 5  # the machine may be busy with something else, but not each time
SIZE = 2300  # 256 points of it are nearly the most values that a body may have
MiB = 2**20
DEEP = {"deep": [{"a": [0]}] * 5_900}  # nearly the most bytes of a payload; ten have nearly the most objects of a body
UUIDS = [f"6f9619ff-8b86-d011-b42d-{number:012d}" for number in range(10_000)]
QUERY = "/collections/wide/points/query"
DEEP_QUERY = "/collections/deep/points/query"
DUPLICATES = "/collections/deep/duplicates"
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_bundle, tmp_path_factory.mktemp("server")) as server:
        with httpx.Client(base_url=server.url, timeout=60) as http_client:
            body = {"vectors": {"size": SIZE, "distance": "Dot"}}
            assert http_client.put("/collections/wide", json=body).status_code == 200
            for first in (0, 200, 400):
                points = [{"id": first + number, "vector": [0.5] * SIZE} for number in range(200)]
                assert http_client.put("/collections/wide/points", json={"points": points}).status_code == 200
            assert http_client.put("/collections/deep", json={"vectors": {"size": 1, "distance": "Dot"}}).is_success
            for first in range(0, 600, 10):
                points = [{"id": first + number, "vector": [1], "payload": DEEP} for number in range(10)]
                assert http_client.put("/collections/deep/points", json={"points": points}).is_success
        yield server


def text(megabytes: int) -> str:
    return base64.b64encode(picture(1) + bytes(megabytes * MiB * 3 // 4)).decode()


def worst() -> dict[str, tuple[str, str, dict[str, Any], int]]:
    """Method, path, body and expected status by a name."""
    vector = [0.123456789] * SIZE
    big = text(60)
    points = [{"id": number, "vector": vector} for number in range(256)]
    values = b"[" + b"1," * (15 * MiB) + b"1]"
    files = [("files", ("f", picture(number) + bytes(MiB // 5))) for number in range(256)]
    where = {"must": [{"has_id": UUIDS}]}
    as_json = {"content-type": "application/json"}
    payloads = [{"id": number, "vector": vector, "payload": DEEP} for number in range(10)]
    most = {"limit": 1000, "with_payload": True}
    objects = json.dumps([{"a": [0]}] * MiB)
    one, many = [("file", ("f", picture(1)))], files
    blank = {"role": "user", "content": [{"type": "text", "text": ""}]}
    contents = [{"content": blank["content"]}] * 29_000
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    image = picture(1) + bytes(60 * MiB)
    raw = struct.pack("<I", len(image)) + image
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}]}).encode()
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return {
        "points": ("PUT", "/collections/wide/points", {"json": {"points": points}}, 200),
        "searches": ("POST", f"{QUERY}/batch", {"json": {"searches": [{"query": vector, "limit": 39}] * 256}}, 200),
        "vectors": ("POST", QUERY, {"json": {"query": vector, "limit": 430, "with_vector": True}}, 200),
        "scroll": ("POST", "/collections/wide/points/scroll", {"json": {"limit": 430, "with_vector": True}}, 200),
        "filter": ("POST", "/collections/wide/points/count", {"json": {"filter": where}}, 200),
        "delete": ("POST", "/collections/wide/points/delete", {"json": {"filter": where}}, 200),
        "too many values": ("POST", "/collections/wide/points/count", {"content": values, "headers": as_json}, 413),
        "image in JSON": ("POST", "/embed", {"json": {"images": [big]}}, 200),
        "pair in JSON": ("POST", "/similarity", {"json": {"a": [text(30)], "b": [text(30)]}}, 200),
        "for OpenAI's clients": ("POST", "/v1/embeddings", {"json": {"model": "tiny", "input": big}}, 200),
        "payloads": ("PUT", "/collections/wide/points", {"json": {"points": payloads}}, 200),
        "payloads of hits": ("POST", DEEP_QUERY, {"json": {"query": [1], **most}}, 200),
        "payloads of points": ("POST", "/collections/deep/points/scroll", {"json": most}, 200),
        "payloads of a group": ("POST", DUPLICATES, {"json": {"cosine": 1, "with_payload": True}}, 200),
        "hashes": ("POST", DUPLICATES, {"json": {"hash": "deep"}}, 200),
        "payloads chosen": ("POST", "/collections/deep/sample", {"json": {"limit": 600, "with_payload": ["a"]}}, 200),
        "outliers": ("POST", "/collections/wide/outliers", {"json": {"limit": 600, "neighbours": 100}}, 200),
        "too many in a form": ("PUT", "/collections/deep/points", {"files": many, "data": {"points": objects}}, 413),
        "too many in a query": ("POST", DEEP_QUERY, {"files": one, "data": {"filter": objects}}, 413),
        "too many objects": ("POST", "/v1/embeddings", {"json": {"messages": [blank] * 140_000}}, 413),
        "messages": ("POST", "/v1/embeddings", {"json": {"messages": [blank] * 29_000}}, 422),
        "for Cohere's clients": ("POST", "/v2/embed", {"json": {"images": [big]}}, 200),
        "inputs of Cohere's": ("POST", "/v2/embed", {"json": {"inputs": contents}}, 422),
        "for Triton's clients": ("POST", INFER, {"json": {"inputs": [tensor | {"data": [big]}]}}, 200),
        "bytes of Triton's": ("POST", INFER, {"content": head + raw, "headers": binary}, 200),
        "for LightlyStudio": ("POST", "/v1/embed/images/bytes", {"files": files}, 200),
        "image of a point": ("PUT", "/collections/own/points", {"json": {"points": [{"id": 1, "image": big}]}}, 404),
        "form": ("POST", "/embed", {"files": [("files", ("f", picture(1) + bytes(60 * MiB)))]}, 200),
        "many files": ("POST", "/embed", {"files": files}, 200),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(worst()))
def test_nobody_waits_for_somebody_elses_request(server: Server, name: str) -> None:
    method, path, body, expected = worst()[name]
    with httpx.Client(base_url=server.url, timeout=60) as http_client:
        request = http_client.build_request(method, path, **body)
        request.read()
        longest = []
        for _ in range(TRIES):
            with Watch(server.port) as watch:
                response = http_client.send(request)
            assert response.status_code == expected, response.text[:300]
            assert watch.count > 0
            longest.append(watch.longest)
            if watch.longest < MOST:
                return
    raise AssertionError(f"/livez took {json.dumps([round(1000 * seconds) for seconds in longest])} ms")


class Watch:
    """Asks /livez over and over meanwhile, and knows the longest that it took."""

    def __init__(self, port: int) -> None:
        self.longest, self.count = 0.0, 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._ask()
        self.longest, self.count = 0.0, 0
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            began = time.perf_counter()
            self._ask()
            self.longest = max(self.longest, time.perf_counter() - began)
            self.count += 1
            time.sleep(0.002)

    def _ask(self) -> None:
        self._connection.request("GET", "/livez")
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 200
