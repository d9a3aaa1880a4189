"""`amcl-serve index --prune` and `--watch`: a collection that is what a folder is."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.amcl_serve.commands.index.server import Server, index, small
from tests.images import photo

WATCHER = (
    "import sys; import amcl_serve.commands.index as index; index.WATCH_SECONDS = 0.1\n"
    "from amcl_serve.cli import main; sys.exit(main())"
)


def test_points_of_vanished_files_are_removed_and_those_of_others_are_not(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, other = small(tmp_path / "one", "a.jpg", "b.jpg", "sub/c.jpg"), small(tmp_path / "other", "x.jpg")
    assert index(server, one, "synced") == 0
    assert index(server, other, "synced", "--prune") == 0
    assert sorted(server.paths("synced")) == ["a.jpg", "b.jpg", "sub/c.jpg", "x.jpg"]
    (one / "sub" / "c.jpg").unlink()
    (one / "a.jpg").rename(one / "d.jpg")
    capfd.readouterr()
    assert index(server, one, "synced", "--prune") == 0
    said = capfd.readouterr().err
    assert "2 removed, whose files are gone" in said
    assert "1 indexed, 1 already there" in said
    assert sorted(server.paths("synced")) == ["b.jpg", "d.jpg", "x.jpg"]


def test_a_folder_without_images_removes_nothing(server: Server, tmp_path: Path) -> None:
    folder = small(tmp_path / "folder", "a.jpg")
    assert index(server, folder, "kept") == 0
    (folder / "a.jpg").unlink()
    assert index(server, folder, "kept", "--prune") == 1  # a disk that is not there looks like this
    assert server.paths("kept") == ["a.jpg"]


def test_points_that_another_version_wrote_come_to_be_of_the_folder(server: Server, tmp_path: Path) -> None:
    folder = small(tmp_path / "folder", "a.jpg", "b.jpg")
    assert index(server, folder, "older") == 0
    server.call("POST", "/collections/older/points/payload/delete", {"keys": ["folder"], "filter": {
        "must_not": [{"is_empty": {"key": "path"}}]}})  # fmt: skip
    (folder / "b.jpg").unlink()
    assert index(server, folder, "older", "--prune") == 0
    assert sorted(server.paths("older")) == ["a.jpg", "b.jpg"]  # nobody knows whose b.jpg is
    (folder / "a.jpg").rename(folder / "c.jpg")
    assert index(server, folder, "older", "--prune") == 0
    assert sorted(server.paths("older")) == ["b.jpg", "c.jpg"]


@contextmanager
def watching(server: Server, folder: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WATCHER, "index", str(folder), "--url", server.url, "--collection", "watched"]
    process = subprocess.Popen([*command, "--watch", *flags], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_watched_folder_is_followed(server: Server, tmp_path: Path) -> None:
    folder = small(tmp_path / "folder", "a.jpg", "b.jpg")
    with watching(server, folder, "--prune") as process:
        assert process.stderr is not None
        while "watching" not in (line := process.stderr.readline()):
            assert line
        assert sorted(server.paths("watched")) == ["a.jpg", "b.jpg"]
        small(folder, "new/c.jpg")
        eventually(lambda: "new/c.jpg" in server.paths("watched"))
        before = server.call("POST", "/collections/watched/points/scroll", {"with_vector": True})["points"]
        (folder / "a.jpg").write_bytes(photo(99))

        def changed() -> bool:
            now = server.call("POST", "/collections/watched/points/scroll", {"with_vector": True})["points"]
            return len(now) == len(before) and now != before

        eventually(changed)
        (folder / "b.jpg").unlink()
        eventually(lambda: sorted(server.paths("watched")) == ["a.jpg", "new/c.jpg"])
        hidden = folder.rename(tmp_path / "away")
        time.sleep(0.5)
        assert sorted(server.paths("watched")) == ["a.jpg", "new/c.jpg"]  # nothing found is nothing known
        hidden.rename(folder)
        small(folder, "z.jpg")
        eventually(lambda: "z.jpg" in server.paths("watched"))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
