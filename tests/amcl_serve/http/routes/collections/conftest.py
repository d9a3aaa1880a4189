from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from tests.amcl_serve.http.routes.collections.asking import (
    URL,
    make_settings,
    ok,
)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = make_settings(tiny_bundle, tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(server: TestClient) -> Iterator[TestClient]:
    """A server with an empty collection `photos` for the tiny bundle's images."""
    ok(server.put(URL, json={"vectors": {"distance": "Cosine"}}))
    yield server
    for entry in ok(server.get("/collections"))["collections"]:
        server.delete(f"/collections/{entry['name']}")
