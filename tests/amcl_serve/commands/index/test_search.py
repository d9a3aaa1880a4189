"""`amcl-serve search` against a real server, and keys of both commands."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from amcl_serve.cli import main
from tests.amcl_serve.commands.index.server import Server, index, small


def test_search(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = small(tmp_path, "a.jpg", "b.jpg", "c\x1b[2J.jpg")
    assert index(server, folder, "search") == 0
    capfd.readouterr()

    def search(image: str, *flags: str) -> int:
        return main(["search", str(folder / image), "--collection", "search", "--url", server.url, *flags])

    assert search("b.jpg") == 0
    header, *lines = capfd.readouterr().out.splitlines()
    assert header.split() == ["score", "path"]
    assert lines[0].split() == ["1.0000", "b.jpg"]
    assert len(lines) == 3
    assert not any("\x1b" in line for line in lines)
    assert search("b.jpg", "--json", "--limit", "2") == 0
    points = json.loads(capfd.readouterr().out)
    assert points[0]["payload"]["path"] == "b.jpg"
    assert len(points) == 2
    (folder / "x.jpg").write_bytes(b"text")
    for arguments, says in (
        (("b.jpg", "--limit", "0"), "limit"),
        (("x.jpg",), "query: "),
        (("nope.jpg",), "nope.jpg cannot be read"),
        (("b.jpg", "--collection", "nope"), "no collection 'nope'"),
    ):
        assert search(*arguments) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert says in line
    server.call("PUT", "/collections/empty", {"vectors": {"distance": "Cosine"}})
    assert search("b.jpg", "--collection", "empty") == 0
    assert capfd.readouterr().out == "the collection holds no points\n"


def test_a_server_with_keys(
    tiny_bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything, looking = "key-for-everything-1", "key-for-looking-2"
    (tmp_path / "keys").write_text(f"{everything}\n")
    monkeypatch.setenv("AMCL_READ_ONLY_API_KEY", looking)
    flags = ["--api-key-file", str(tmp_path / "keys")]
    server = Server(tiny_bundle, tmp_path / "data", *flags, "--log-level", "debug")
    try:
        monkeypatch.delenv("AMCL_READ_ONLY_API_KEY")
        folder = small(tmp_path / "images", "a.jpg")
        connection = ["--collection", "c", "--url", server.url]

        def failure(*argv: str) -> str:
            assert main([*argv, *connection]) == 1
            return capfd.readouterr().err.splitlines()[-1]

        assert "set AMCL_API_KEY or --api-key-file" in failure("index", str(folder))
        monkeypatch.setenv("AMCL_API_KEY", looking)
        assert "read-only" in failure("index", str(folder))
        assert main(["index", str(folder), *connection, *flags]) == 0  # the flag goes before the environment
        assert main(["search", str(folder / "a.jpg"), *connection]) == 0
        monkeypatch.delenv("AMCL_API_KEY")
        monkeypatch.setenv("AMCL_API_KEY_FILE", str(tmp_path / "keys"))
        assert main(["search", str(folder / "a.jpg"), *connection]) == 0
        assert "cannot be read" in failure("search", str(folder / "a.jpg"), "--api-key-file", str(tmp_path / "none"))
    finally:
        server.kill(signal.SIGTERM)
    said = "".join(capfd.readouterr())
    assert everything not in said
    assert looking not in said
