"""A server that several clients write to is killed and started again: what it acknowledged is there, bit by bit."""

from __future__ import annotations

import http.client
import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks.processes import Server, serving
from tests.amcl_serve.vectors.test_killed import SIZE, TOGETHER, vectors

KILLS, CLIENTS = 10, 3
URL = "/collections/a"


def asked(port: int, method: str, path: str, body: Any) -> Any:
    """A request on a connection of its own; OSError or HTTPException where the server is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, text
    return orjson.loads(text)["result"]


class Clients:
    """Write groups of points, delete some again, search; `said` is what became of each group as far as it is known."""

    def __init__(self) -> None:
        self.said: dict[int, str] = {}
        self._groups = itertools.count()  # its next is atomic

    def write_until_killed(self, server: Server, rng: np.random.Generator) -> int:
        """How many requests were answered before the server was killed."""
        some, answered = threading.Semaphore(0), itertools.count()

        def write() -> None:
            previous = None
            try:
                for group in self._groups:
                    points = [
                        {"id": group * TOGETHER + place, "vector": vector, "payload": {"group": group}}
                        for place, vector in enumerate(vectors(group))
                    ]
                    self.said[group] = "writing"
                    asked(server.port, "PUT", f"{URL}/points", {"points": points})
                    self.said[group] = "written"
                    next(answered)
                    some.release()
                    if previous is not None and group % 3 == 0:
                        self.said[previous] = "deleting"
                        chosen = {"must": [{"key": "group", "match": {"value": previous}}]}
                        asked(server.port, "POST", f"{URL}/points/delete", {"filter": chosen})
                        self.said[previous] = "deleted"
                        next(answered)
                    asked(server.port, "POST", f"{URL}/points/query", {"query": points[0]["vector"]})
                    previous = group
            except (OSError, http.client.HTTPException):
                return

        threads = [threading.Thread(target=write) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for _ in range(rng.integers(1, 40)):
            assert some.acquire(timeout=60)
        threading.Event().wait(rng.uniform(0, 0.02))
        server.process.kill()
        server.process.wait()
        for thread in threads:
            thread.join()
        return next(answered)

    def check(self, port: int) -> None:
        """Compare what the server has."""
        found: dict[int, dict[int, bytes]] = {}
        start = None
        while True:
            page = asked(port, "POST", f"{URL}/points/scroll", {"limit": 1000, "offset": start, "with_vector": True})
            for point in page["points"]:
                group = point["id"] // TOGETHER
                assert point["payload"] == {"group": group}
                found.setdefault(group, {})[point["id"] % TOGETHER] = np.float32(point["vector"]).tobytes()
            start = page["next_page_offset"]
            if start is None:
                break
        for group, stored in found.items():  # all of a write, or nothing
            assert stored == {place: vector.tobytes() for place, vector in enumerate(vectors(group))}, group
        for group, said in self.said.items():
            assert said not in ("written", "deleted") or (group in found) == (said == "written"), (group, said)
        assert asked(port, "POST", f"{URL}/points/count", {})["count"] == TOGETHER * len(found)
        for group in list(found)[-3:]:
            (hit,) = asked(port, "POST", f"{URL}/points/query", {"query": vectors(group)[3], "limit": 1})["points"]
            assert hit["id"] == group * TOGETHER + 3


@pytest.mark.slow
def test_a_killed_server_has_what_it_acknowledged(tiny_bundle: Path, tmp_path: Path) -> None:
    clients, rng, answered = Clients(), np.random.default_rng(0), 0
    for turn in range(KILLS + 1):
        with serving(tiny_bundle, tmp_path) as server:
            if turn == 0:
                asked(server.port, "PUT", URL, {"vectors": {"size": SIZE, "distance": "Euclid"}})
            clients.check(server.port)
            if turn < KILLS:
                answered += clients.write_until_killed(server, rng)
    assert answered >= 10 * KILLS
