"""A server and a folder of images, which the tests of a file share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.amcl_serve.commands.index.server import IMAGES, Server
from tests.images import photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(IMAGES):
        path = folder / f"class {i % 3}" / f"{i:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(i, (32, 32)))
    return folder


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tiny_bundle, tmp_path_factory.mktemp("data"), "--max-body-bytes", "100000", "--max-items", "16")
    yield server
    server.kill(signal.SIGTERM)
