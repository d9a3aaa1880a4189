"""SIGTERM to a real server that is at work: what it has taken on it answers, whole, and then it ends with 0."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import Server, serving
from tests.images import photo

DEADLINE = 20
IMAGES = [("files", (str(seed), photo(seed, (800, 600)), "image/jpeg")) for seed in range(4)]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def metric(server: Server, name: str) -> float:
    (value,) = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", httpx.get(f"{server.url}/metrics").text, re.MULTILINE)
    return float(value)


def test_every_admitted_request_is_answered(tiny_bundle: Path, tmp_path: Path) -> None:
    """Six requests of which five are known to be in the queue, whole, when the signal comes."""
    answers: list[httpx.Response] = []
    slow = [("files", (str(seed), photo(seed, (3000, 2000)), "image/jpeg")) for seed in range(8)]

    def send() -> None:
        with contextlib.suppress(httpx.ConnectError):  # the sixth may come after the end of listening
            answers.append(httpx.post(f"{server.url}/embed", files=slow, timeout=60))

    flags = ("--session-threads", "1", "--decode-threads", "1", "--request-deadline", str(DEADLINE))
    with serving(tiny_bundle, tmp_path, *flags) as server:
        clients = [threading.Thread(target=send) for _ in range(6)]
        for client in clients:
            client.start()
        until(lambda: metric(server, "amcl_queue_depth") > 4 * len(slow))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE + 10) == 0
        for client in clients:
            client.join(10)
    assert sorted(answer.status_code for answer in answers)[:5] == [200] * 5
    for answer in answers:
        if answer.status_code == 200:
            assert [set(item) for item in answer.json()["data"]] == [{"index", "embedding"}] * len(slow)
        else:
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


@pytest.mark.parametrize("keep_alive", [True, False])
def test_no_answer_is_cut_off_while_clients_keep_coming(tiny_bundle: Path, tmp_path: Path, keep_alive: bool) -> None:
    """Clients that never stop sending: each gets whole answers until it is refused, none before the signal."""
    statuses: list[int] = []
    refused: list[tuple[float, Exception]] = []

    def send() -> None:
        headers = {} if keep_alive else {"connection": "close"}
        with httpx.Client(base_url=server.url, timeout=30, headers=headers) as client:
            while True:
                try:
                    answer = client.post("/embed", files=IMAGES)
                except httpx.TransportError as error:
                    refused.append((time.monotonic(), error))
                    return
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    assert [item["index"] for item in answer.json()["data"]] == [0, 1, 2, 3]
                else:
                    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
                    assert int(answer.headers["retry-after"]) > 0

    flags = ("--session-threads", "1", "--decode-threads", "2", "--request-deadline", str(DEADLINE))
    with serving(tiny_bundle, tmp_path, *flags) as server:
        clients = [threading.Thread(target=send) for _ in range(6)]
        for client in clients:
            client.start()
        until(lambda: len(statuses) >= 20)
        signalled = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE + 10) == 0
        for client in clients:
            client.join(10)
            assert not client.is_alive()
    assert len(refused) == 6  # each in the end
    assert set(statuses) <= {200, 503}
    for when, error in refused:
        assert when > signalled
        assert "complete message body" not in str(error), "an answer was cut off"


def test_the_server_may_hold_as_many_connections_as_the_system_lets_it(tiny_bundle: Path, tmp_path: Path) -> None:
    """A shell's soft limit, often 1024 file handles, is no limit on connections."""
    with serving(tiny_bundle, tmp_path) as server:
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
