"""A search that takes too long ends, one whose client has left ends too, and nobody else waits for either."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import Server, serving
from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.http.connections import request

POINTS = "/collections/wide/points"
LIMIT = 1.0  # seconds
# Each condition looks at each number of each payload, in vain.
WORST = {"must_not": [{"key": "a", "match": {"any": [-1 - number]}} for number in range(120)]}
NONE = {"must": [WORST, {"key": "b", "match": {"value": 1}}]}  # so that no page is full, and nothing is deleted


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_bundle, tmp_path_factory.mktemp("server"), "--search-deadline", f"{LIMIT}") as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            body = {"vectors": {"size": 1, "distance": "Dot"}}
            assert client.put("/collections/wide", json=body).is_success
            for first in range(0, 5120, 256):
                points = [{"id": first + n, "vector": [1], "payload": {"a": list(range(100))}} for n in range(256)]
                assert client.put(POINTS, json={"points": points}).is_success
        yield server


@pytest.mark.parametrize(
    ("route", "body"),
    [("count", {}), ("scroll", {}), ("query", {"query": [1.0]}), ("delete", {})],
)
def test_a_search_without_end_is_ended(server: Server, route: str, body: dict[str, object]) -> None:
    began = time.monotonic()
    answer = httpx.post(f"{server.url}{POINTS}/{route}", json={**body, "filter": NONE}, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded"), answer.text
    assert "searched for 1 s" in answer.json()["detail"]
    assert time.monotonic() - began < 5
    assert httpx.post(f"{server.url}{POINTS}/count", json={}).json()["result"]["count"] == 5120


def test_nobody_waits_for_such_searches(server: Server) -> None:
    """Many of them, whose clients leave: others are answered meanwhile, and the threads are free afterwards."""
    waiting = []
    body = json.dumps({"filter": WORST}).encode()
    head = request(f"{POINTS}/count", body, "POST", "content-type: application/json")
    try:
        for _ in range(40):
            waiting.append(socket.create_connection(("127.0.0.1", server.port)))
            waiting[-1].sendall(head)
        time.sleep(0.3)
        began = time.monotonic()
        assert httpx.get(f"{server.url}/readyz", timeout=30).status_code == 200
        files = [("a", ("a.png", picture(1))), ("b", ("b.png", picture(2)))]
        assert httpx.post(f"{server.url}/similarity", files=files, timeout=30).status_code == 200
        assert time.monotonic() - began < 5  # of the engine's work beside sixteen threads that search
    finally:
        for connection in waiting:
            connection.close()
    began = time.monotonic()
    assert httpx.post(f"{server.url}{POINTS}/count", json={}, timeout=30).status_code == 200
    assert (
        time.monotonic() - began < 2 * LIMIT
    )  # of forty searches, sixteen at a time, all but the first were not begun
