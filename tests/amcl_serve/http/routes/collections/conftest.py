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
from tests.milvus import Lite


@pytest.fixture(scope="module", params=["sqlite", pytest.param("milvus", marks=pytest.mark.slow)])
def server(
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("data")
    lite = Lite(folder / "milvus") if request.param == "milvus" else None
    update = {} if lite is None else {"vectors": f"milvus://{lite.start()}"}
    settings = make_settings(tiny_bundle, folder).model_copy(update=update)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
    if lite is not None:
        lite.stop()


@pytest.fixture
def client(server: TestClient) -> Iterator[TestClient]:
    """A server with an empty collection `photos` for the tiny bundle's images."""
    ok(server.put(URL, json={"vectors": {"distance": "Cosine"}}))
    yield server
    for entry in ok(server.get("/collections"))["collections"]:
        server.delete(f"/collections/{entry['name']}")
