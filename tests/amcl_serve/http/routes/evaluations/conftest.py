from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from amcl_serve.evaluation import runner
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.embedder import Embedder
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.result import Result
from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conformance import conforms

Serve = Callable[..., TestClient]


@pytest.fixture
def serve(tiny_bundle: Path, tmp_path: Path) -> Iterator[Serve]:
    """A server on the test's own data folder, whose answers are those of its schema; again for a restart."""
    running: list[TestClient] = []

    def start(**settings: Any) -> TestClient:
        while running:
            running.pop().__exit__(None, None, None)
        given = {"model": str(tiny_bundle), "data_dir": tmp_path / "data", "session_threads": 1, "decode_threads": 1}
        app = create_app(Settings(**(given | settings)))
        client = TestClient(app, raise_server_exceptions=False)
        client.event_hooks["response"].append(conforms(app.openapi()))
        client.__enter__()
        running.append(client)
        return client

    yield start
    while running:
        running.pop().__exit__(None, None, None)


class Gate:
    """A runner that says how far it is until it is let go, or hears that nobody wants it."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def run(
        self, dataset: Dataset, embedder: Embedder, protocol: object, progress: Progress, *, against: object = None
    ) -> Result:
        """In place of the runner's own."""
        while not self.open.is_set():
            progress("waiting for the test", 1, 2)
            embedder.embed([dataset.read(0)])
        return Result("label_free", dataset.name, {}, [], 1.0, "2026-01-01T00:00:00+00:00")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate()
    monkeypatch.setattr(runner, "run", found.run)
    yield found
    found.open.set()


@pytest.fixture
def quick(gate: Gate) -> Gate:
    """A runner that has nothing to do."""
    gate.open.set()
    return gate


def job(client: TestClient, name: str, *until: str, seconds: float = 30) -> dict[str, Any]:
    """The evaluation, once its status is one of `until`."""
    end = time.monotonic() + seconds
    while (found := client.get(f"/evaluations/{name}").json())["status"] not in until:
        assert time.monotonic() < end, found
        time.sleep(0.01)
    assert isinstance(found, dict)
    return found


def begin(client: TestClient, archive: bytes, **fields: object) -> str:
    """The id of an evaluation of an archive."""
    response = client.post("/evaluations", files={"archive": ("mine.zip", archive)}, data=fields)
    assert response.status_code == 202, response.text
    found: str = response.json()["id"]
    return found
