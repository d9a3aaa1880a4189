"""`amcl-serve index` against a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from amcl_serve.client import Point
from amcl_serve.commands.index import index_files
from amcl_serve.errors import AmclError
from tests.amcl_serve.commands.index.server import Server, index, small
from tests.fakes import make_bundle
from tests.images import photo, truncated


def test_changed_new_and_broken_files(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = small(tmp_path, "a.JPG", "sub/b.jpeg", "sub/deep/c.jpg", "d\u00e9.jpg")
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_bytes(truncated())
    (folder / "empty.gif").write_bytes(b"")
    (folder / "text.webp").write_bytes(b"text")
    (folder / "gone.bmp").symlink_to(folder / "nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(photo(0))
    assert index(server, folder, "mixed") == 0
    said = capfd.readouterr().err
    assert "4 indexed, 0 already there, 5 skipped as broken, of 9 images" in said
    for name in (
        "broken.png: ",
        "empty.gif: ",
        "text.webp: ",
        "gone.bmp: cannot be read",
        ".jpg: its name is not UTF-8",
    ):
        assert sum(f"{name}" in line and line.startswith("skipped ") for line in said.splitlines()) == 1
    (folder / "a.JPG").write_bytes(photo(77))
    small(folder, "z.jpg")
    assert index(server, folder, "mixed") == 0
    assert "2 indexed, 3 already there, 5 skipped" in capfd.readouterr().err
    assert sorted(server.paths("mixed")) == sorted(["a.JPG", "sub/b.jpeg", "sub/deep/c.jpg", "d\u00e9.jpg", "z.jpg"])
    for name in ("a.JPG", "sub/b.jpeg", "sub/deep/c.jpg", "d\u00e9.jpg"):
        (folder / name).unlink()
    assert index(server, folder, "mixed", "--recreate") == 0
    assert "1 indexed, 0 already there" in capfd.readouterr().err
    assert server.paths("mixed") == ["z.jpg"]


def test_batches_and_files_that_are_too_large(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"{i:02}.jpg" for i in range(40)]  # the server takes 16 images and 100,000 bytes a request
    small(tmp_path, *names)
    (tmp_path / "05.jpg").write_bytes(photo(5) + b"\0" * 60_000)
    (tmp_path / "06.jpg").write_bytes(photo(6) + b"\0" * 60_000)
    (tmp_path / "99.jpg").write_bytes(photo(6) + b"\0" * 100_000)
    assert index(server, tmp_path, "large", "--batch", "64") == 0
    said = capfd.readouterr().err
    assert "40 indexed, 0 already there, 1 skipped as broken" in said
    assert "skipped 99.jpg: the body has more than 100000 bytes" in said
    assert sorted(server.paths("large")) == names


def test_a_failure_of_the_server_is_not_a_broken_image(tmp_path: Path) -> None:
    class Failing:
        def retrieve(self, name: str, ids: list[Any]) -> Any:
            return []

        def upsert(self, name: str, points: list[Point], *, model: str | None) -> int:
            raise AmclError("files[0]: the server failed to embed this image; its log says why")

    outcomes: list[str] = []
    with pytest.raises(AmclError, match="the server failed"):
        index_files(
            Failing(),  # type: ignore[arg-type]
            "c",
            small(tmp_path, "a.jpg"),
            ["a.jpg"],
            batch=1,
            report=lambda *said: outcomes.append(said[1]),
        )
    assert outcomes == []


def test_nothing_to_index(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert index(server, tmp_path, "none") == 1
    assert "holds no images" in capfd.readouterr().err
    assert index(server, tmp_path / "nope", "none") == 1
    assert "is no folder" in capfd.readouterr().err
    (tmp_path / "a.png").write_bytes(b"text")
    assert index(server, tmp_path, "none") == 1
    assert "0 indexed, 0 already there, 1 skipped" in capfd.readouterr().err
    small(tmp_path, "b.jpg")
    assert index(server, tmp_path, "a'; DROP TABLE points; --") == 1
    assert "a collection's name is" in capfd.readouterr().err
    with pytest.raises(SystemExit) as usage:
        index(server, tmp_path, "none", "--batch", "0")
    assert usage.value.code == 2


def test_another_models_collection(
    server: Server, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = small(tmp_path / "images", "a.jpg", "b.jpg")
    bundle = make_bundle(tmp_path / "bundle", name="other")
    first = Server(tiny_bundle, tmp_path / "data")
    assert index(first, folder, "photos") == 0
    first.kill(signal.SIGTERM)
    second = Server(bundle, tmp_path / "data")
    small(folder, "a.jpg", "b.jpg", "c.jpg")
    capfd.readouterr()
    assert index(second, folder, "photos") == 1
    said = capfd.readouterr().err
    assert "tiny (sha256:" in said
    assert "other (sha256:" in said
    assert "--recreate" in said
    assert index(second, folder, "photos", "--recreate") == 0
    assert second.paths("photos") != []
    second.kill(signal.SIGTERM)
