"""A server in a process of its own, which dies when the test says so, and the command against it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid5

import httpx
import pytest

from amcl_serve.cli import main
from amcl_serve.commands.index import NAMESPACE
from tests.images import photo

CODE = "import sys; from amcl_serve.cli import main; sys.exit(main())"
IMAGES = 240


class Server:
    """A server process on a free port; `kill` ends it without warning, `start` runs it again on the same data."""

    def __init__(self, bundle: Path, data: Path, *flags: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        threads = ("--session-threads", "1", "--decode-threads", "1")
        self.flags = ["--port", port, "--model", str(bundle), "--data-dir", str(data), *threads, *flags]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", CODE, "serve", *self.flags], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            assert self.process.poll() is None, "the server ended"
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        pytest.fail("the server did not become ready")

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return httpx.request(method, self.url + path, json=body, trust_env=False).raise_for_status().json()["result"]

    def paths(self, collection: str) -> list[str]:
        """The payloads' paths of all points, checked against their ids."""
        points: list[Any] = []
        offset = None
        while True:
            page = self.call("POST", f"/collections/{collection}/points/scroll", {"limit": 100, "offset": offset})
            points += page["points"]
            offset = page["next_page_offset"]
            if offset is None:
                break
        for point in points:
            assert point["id"] == str(uuid5(NAMESPACE, point["payload"]["path"]))
        return [point["payload"]["path"] for point in points]


def small(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(seed))
    return folder


def index(server: Server, folder: Path, name: str, *flags: str) -> int:
    return main(["index", str(folder), "--collection", name, "--url", server.url, *flags])
