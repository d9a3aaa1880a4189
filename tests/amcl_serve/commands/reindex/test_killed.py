"""A reindex that is killed goes on where it was, and searches never fail meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.amcl_serve.commands.index.server import Server, small
from tests.amcl_serve.commands.reindex.conftest import aliased, reindex, stands_for
from tests.images import photo

IMAGES = 400

# The command, 2 ms an image slower, so that there is a middle to be killed in.
SLOW = """
import sys, time
from amcl_serve.commands.reindexing.images import Images
from amcl_serve.cli import main
read = Images.read
def slow(self, point):
    time.sleep(0.002)
    return read(self, point)
Images.read = slow
sys.exit(main())
"""


class Searcher(threading.Thread):
    """Searches the alias over and over, each request once; `best` is the least score of the first answer."""

    def __init__(self, server: Server, alias: str, best: float, **request: Any) -> None:
        super().__init__(daemon=True)
        self._url = f"{server.url}/collections/{alias}/points/query"
        self._best = best
        self._request = request
        self._end = threading.Event()
        self.answers = 0
        self.faults: list[str] = []

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self._end.is_set():
                try:
                    response = client.post(self._url, **self._request)
                    points = response.json()["result"]["points"] if response.status_code == 200 else []
                    good = len(points) == 10 and points[0]["score"] > self._best
                    self.answers += good
                    if not good:
                        self.faults.append(response.text[:300])
                except httpx.HTTPError as error:
                    self.faults.append(repr(error))

    def end(self) -> None:
        self._end.set()
        self.join(60)


@pytest.mark.slow
def test_killed_half_way_it_resumes_and_searches_never_fail(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = small(tmp_path / "images", *(f"{i:03}.jpg" for i in range(IMAGES)))
    alias = aliased(server, folder, "busy", "--thumbnails")
    first = server.call("POST", "/collections/busy/points/scroll", {"limit": 1})["points"][0]["id"]
    searchers = [  # an image of the collection is found by any model, if it is searched for by that which embedded them
        Searcher(server, alias, 0.999, files={"file": ("q.jpg", photo(5))}),
        Searcher(server, alias, 0.999, files={"file": ("q.jpg", photo(6))}),
        Searcher(server, alias, 0.0, json={"query": first}),
    ]
    for searcher in searchers:
        searcher.start()
    command = [sys.executable, "-c", SLOW, "reindex", alias, "--url", server.url, "--model", "other"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stored() -> int:
        names = [each["name"] for each in server.call("GET", "/collections")["collections"]]
        found = [name for name in names if name.startswith("busy.")]
        return int(server.call("GET", f"/collections/{found[0]}")["points_count"]) if found else 0

    while stored() < IMAGES // 3:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    assert stands_for(server)[alias] == "busy-1"
    time.sleep(0.5)  # requests that the server had got end
    done = stored()
    assert IMAGES // 3 <= done < IMAGES

    capfd.readouterr()
    assert reindex(server, alias, "--model", "other") == 0
    assert f": {IMAGES - done} embedded anew, {done} done before, 0 skipped" in capfd.readouterr().err
    new = stands_for(server)[alias]
    assert sorted(server.paths(new)) == sorted(server.paths("busy-1"))
    for _ in range(20):  # there and back, under the searches
        assert reindex(server, alias, "--back") == 0
        time.sleep(0.02)
    assert stands_for(server)[alias] == new
    assert reindex(server, alias, "--drop-old") == 0
    time.sleep(0.2)
    for searcher in searchers:
        searcher.end()
        assert searcher.faults == []
        assert searcher.answers > 20
