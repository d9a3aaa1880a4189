"""A server with two models, and a folder of images, which the tests of a file share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from amcl_serve.cli import main
from tests.amcl_serve.commands.index.server import Server, small
from tests.fakes import make_bundle

IMAGES = 60


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "other", name="other", seed=1)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, other_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tiny_bundle, tmp_path_factory.mktemp("data"), "--model", str(other_bundle))
    yield server
    server.kill(signal.SIGTERM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small(tmp_path / "images", *(f"{i % 3}/{i:03}.jpg" for i in range(IMAGES)))


def aliased(server: Server, folder: Path, name: str, *flags: str) -> str:
    """Index the folder into NAME-1, and let the alias NAME stand for it; the alias."""
    command = ["index", str(folder), "--collection", f"{name}-1", "--url", server.url, *flags]
    assert main(command) == 0
    actions = [{"create_alias": {"alias_name": name, "collection_name": f"{name}-1"}}]
    server.call("POST", "/collections/aliases", {"actions": actions})
    return name


def reindex(server: Server, alias: str, *flags: str) -> int:
    return main(["reindex", alias, "--url", server.url, *flags])


def stands_for(server: Server) -> dict[str, str]:
    listed = server.call("GET", "/aliases")["aliases"]
    return {each["alias_name"]: each["collection_name"] for each in listed}
