"""`amcl-serve index` and `search` against a real server in a process of its own, which dies when the test says so."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid5

import httpx
import pytest

from amcl_serve.cli import main
from amcl_serve.client import Client, Point, Retry
from amcl_serve.commands.index import NAMESPACE, find_images, index_files, prepare
from amcl_serve.errors import AmclError, Unreachable
from tests.fakes import make_bundle
from tests.images import photo, truncated

CODE = "import sys; from amcl_serve.cli import main; sys.exit(main())"
IMAGES = 240


class Server:
    """A server process on a free port; `kill` ends it without warning, `start` runs it again on the same data."""

    def __init__(self, bundle: Path, data: Path, *flags: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        threads = ("--session-threads", "1", "--decode-threads", "1")
        self.flags = ["--port", port, "--model", str(bundle), "--data-dir", str(data), *threads, *flags]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", CODE, "serve", *self.flags], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            assert self.process.poll() is None, "the server ended"
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        pytest.fail("the server did not become ready")

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return httpx.request(method, self.url + path, json=body, trust_env=False).raise_for_status().json()["result"]

    def paths(self, collection: str) -> list[str]:
        """The payloads' paths of all points, checked against their ids."""
        points: list[Any] = []
        offset = None
        while True:
            page = self.call("POST", f"/collections/{collection}/points/scroll", {"limit": 100, "offset": offset})
            points += page["points"]
            offset = page["next_page_offset"]
            if offset is None:
                break
        for point in points:
            assert point["id"] == str(uuid5(NAMESPACE, point["payload"]["path"]))
        return [point["payload"]["path"] for point in points]


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


def small(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(seed))
    return folder


def index(server: Server, folder: Path, name: str, *flags: str) -> int:
    return main(["index", str(folder), "--collection", name, "--url", server.url, *flags])


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
    assert len(set(stored)) == len(stored) <= len(acknowledged) + 4
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
        def scroll(self, name: str, **_: Any) -> Any:
            return {"points": []}

        def upsert(self, name: str, points: list[Point]) -> int:
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


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[", "nonsense", "ftp://127.0.0.1"])
def test_no_server_is_one_line(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = small(tmp_path, "a.jpg")
    for command in (["index", str(folder)], ["search", str(folder / "a.jpg")]):
        assert main([*command, "--collection", "a", "--url", url]) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("amcl-serve: error: ")
        assert "amcl-serve serve" in line or "is no URL" in line


class Scripted(BaseHTTPRequestHandler):
    """Answers with what the test put into `answers`, in order."""

    answers: list[tuple[int, dict[str, str], bytes]]
    keys: list[str | None] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.keys.append(self.headers["authorization"])
        self.rfile.read(int(self.headers["content-length"]))
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Scripted) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def test_a_busy_server_is_waited_for(
    scripted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Client, "_sleep", staticmethod(waits.append))
    monkeypatch.setenv("AMCL_API_KEY", "secret")
    busy = b'{"code": "overloaded", "detail": "busy"}'
    found = b'{"result": {"points": []}, "status": "ok", "time": 0}'
    Scripted.keys = []
    Scripted.answers = [
        (429, {"retry-after": "7"}, busy),
        (503, {}, busy),
        (429, {"retry-after": "x"}, busy),
        (200, {}, found),
    ]
    small(tmp_path, "a.jpg")
    assert main(["search", str(tmp_path / "a.jpg"), "--collection", "a", "--url", scripted]) == 0
    assert waits[0] == 7.0
    assert 0 <= waits[1] <= 1.0
    assert 0 <= waits[2] <= 2.0
    assert Scripted.keys == ["Bearer secret"] * 4
    monkeypatch.setattr("amcl_serve.commands.client.PATIENCE", Retry(attempts=1))
    Scripted.answers = [(429, {}, busy)]
    assert main(["search", str(tmp_path / "a.jpg"), "--collection", "a", "--url", scripted]) == 1
    assert "busy" in capfd.readouterr().err


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'"text"'])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_kind_of_server(
    scripted: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int, body: bytes
) -> None:
    Scripted.answers = [(status, {}, body)]
    small(tmp_path, "a.jpg")
    assert main(["search", str(tmp_path / "a.jpg"), "--collection", "a", "--url", scripted]) == 1
    assert "not as amcl-serve does" in capfd.readouterr().err
