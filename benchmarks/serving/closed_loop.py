"""A closed-loop client of processes with a connection each: a request leaves when the answer before it is complete.

For servers that are faster than one Python process can ask. The standard library alone, so that a process starts fast.
"""

from __future__ import annotations

import http.client
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

HEADERS = {"accept": "application/x-npy"}  # an answer that costs little to write and to read


def answers(
    port: int, path: str, content_type: str, bodies: Sequence[bytes], *, clients: int, seconds: float
) -> tuple[float, int]:
    """(answers with 200 a second, other answers) of so many clients that send the bodies in turn."""
    pool = ProcessPoolExecutor(clients, mp_context=multiprocessing.get_context("spawn"))
    start = time.time() + 1.0 + 0.05 * clients  # all at once, when all have begun
    send = partial(_client, port, path, content_type, list(bodies), start, seconds)
    with pool:
        found = list(pool.map(send, range(clients)))
    return sum(good for good, _ in found) / seconds, sum(other for _, other in found)


def _client(
    port: int, path: str, content_type: str, bodies: list[bytes], start: float, seconds: float, number: int
) -> tuple[int, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    time.sleep(max(0.0, start - time.time()))
    start = max(start, time.time())  # a process that began late still takes its seconds
    good = other = 0
    while time.time() < start + seconds:
        body = bodies[(number + good + other) % len(bodies)]
        connection.request("POST", path, body, HEADERS | {"content-type": content_type})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            other += 1
        elif time.time() <= start + seconds:
            good += 1
    connection.close()
    return good, other
