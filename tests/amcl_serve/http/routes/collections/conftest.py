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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each engine's server, but for what Milvus has nothing like."""
    if "server" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("sqlite_only") is not None
        others = [] if alone else [pytest.param("milvus", marks=pytest.mark.slow)]
        metafunc.parametrize("server", ["sqlite", *others], indirect=True, scope="module")


@pytest.fixture(scope="module")
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
