"""`amcl-serve index` and `search` where there is no server, a busy one, or one of another kind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from amcl_serve.cli import main
from amcl_serve.client import Client, Retry
from tests.amcl_serve.commands.index.server import small


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
