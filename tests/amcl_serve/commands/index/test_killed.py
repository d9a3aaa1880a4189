"""`amcl-serve index` goes on where it was, whichever of the two was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amcl_serve.client import Client
from amcl_serve.commands.bulk.sending import AT_ONCE
from amcl_serve.commands.index import find_images, index_files, prepare
from amcl_serve.errors import Unreachable
from tests.amcl_serve.commands.index.server import IMAGES, Server, index


def test_a_server_killed_while_indexing_keeps_every_acknowledged_point(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = Server(tiny_bundle, tmp_path)
    acknowledged: list[str] = []
    enough = threading.Event()

    def report(path: str, outcome: str, _: str) -> None:
        assert outcome == "indexed"
        acknowledged.append(path)
        if len(acknowledged) >= 60:
            enough.set()

    files = find_images(folder)
    assert len(files) == IMAGES
    killer = threading.Thread(target=lambda: (enough.wait(120), server.kill()))
    killer.start()
    with Client(server.url) as client:
        prepare(client, "photos", recreate=False)
        with pytest.raises(Unreachable, match="no server answers"):
            index_files(client, "photos", folder, files, batch=4, report=report)
    killer.join()
    assert 60 <= len(acknowledged) < IMAGES
    server.start()
    stored = server.paths("photos")
    assert set(acknowledged) <= set(stored)
    assert len(set(stored)) == len(stored) <= len(acknowledged) + 4 * AT_ONCE
    capfd.readouterr()
    assert index(server, folder, "photos") == 0
    said = capfd.readouterr().err
    assert f"{IMAGES - len(stored)} indexed, {len(stored)} already there, 0 skipped as broken, of {IMAGES}" in said
    assert sorted(server.paths("photos")) == files
    assert server.call("GET", "/collections/photos")["points_count"] == IMAGES
    server.kill(signal.SIGTERM)


LOGGING = """
import sys
from amcl_serve.commands import index
from amcl_serve.cli import main
class Logged(index.Progress):
    def __call__(self, path, outcome, reason):
        print(path, flush=True)
        super().__call__(path, outcome, reason)
index.Progress = Logged
sys.exit(main())
"""


def killed_client(server: Server, folder: Path, name: str, number: int) -> tuple[list[str], subprocess.Popen[str], str]:
    command = ["index", str(folder), "--collection", name, "--url", server.url, "--batch", "4"]
    client = subprocess.Popen(
        [sys.executable, "-c", LOGGING, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    logged = [client.stdout.readline().strip() for _ in range(50)]
    client.send_signal(number)
    rest, said = client.communicate(timeout=60)
    return logged + [line for line in rest.splitlines() if line in set(find_images(folder))], client, said


def test_a_killed_client_goes_on_where_it_was(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    acknowledged, client, _ = killed_client(server, folder, "killed", signal.SIGKILL)
    assert client.returncode == -signal.SIGKILL
    assert 50 <= len(acknowledged) < IMAGES
    stored = server.paths("killed")
    assert set(acknowledged) <= set(stored)
    assert len(stored) < IMAGES
    assert index(server, folder, "killed") == 0
    assert "0 skipped as broken" in capfd.readouterr().err
    assert sorted(server.paths("killed")) == find_images(folder)


def test_an_interrupted_client_says_how_to_go_on(server: Server, folder: Path) -> None:
    acknowledged, client, said = killed_client(server, folder, "interrupted", signal.SIGINT)
    assert client.returncode == 130
    assert len(acknowledged) < IMAGES
    (last,) = said.splitlines()
    assert last.startswith("interrupted: ")
    assert last.endswith("run the same command again to go on from here")
