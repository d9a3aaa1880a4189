from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

import amcl_serve
from amcl_serve import cli
from amcl_serve.commands.options import default_text, is_secret
from amcl_serve.commands.serve import listen
from amcl_serve.errors import StartupError
from amcl_serve.settings import Settings
from tests.amcl_serve.commands.ports import free_port
from tests.amcl_serve.http.conftest import picture


def test_serve_has_a_flag_for_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        if is_secret(field):
            assert f"--{name.replace('_', '-')} " not in text
            continue
        assert f"--{name.replace('_', '-')} " in text
        flat = re.sub(r"\s", "", text)  # a long default may be broken at a hyphen
        assert re.sub(r"\s", "", f"{field.description} (default: {default_text(field)})") in flat


@pytest.mark.parametrize(
    ("host", "key", "warned"), [("0.0.0.0", "", True), ("0.0.0.0", "k", False), ("127.0.0.1", "", False)]
)
def test_serving_others_without_a_key_is_a_warning(
    host: str,
    key: str,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    import uvicorn

    from amcl_serve.commands.serve import serve
    from amcl_serve.http.app import create_app

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", stop)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    settings = Settings(host=host, data_dir=tmp_path, api_key=SecretStr(key) if key else None)
    with socket.socket() as sock:
        sock.bind((host, 0))  # and never listens
        with pytest.raises(KeyboardInterrupt):
            serve(create_app(settings), settings, sock)
    assert ("no key is set" in caplog.text) == warned


@pytest.fixture
def server(tiny_bundle: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    argv = ["serve", "--port", str(port), "--model", str(tiny_bundle), "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(
        [sys.executable, "-m", "amcl_serve.cli", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process, port
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_serve_says_where_and_ends_on_sigterm(server: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    process, port = server
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"amcl-serve {amcl_serve.__version__} is ready on http://127.0.0.1:{port}\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as response:
        assert response.status == 200
    # A request that is half sent when the signal comes is still answered.
    body = picture(1)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        head = f"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body[:20])
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        sock.sendall(body[20:])
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"embedding"' in answer
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_serve_where_the_port_is_taken(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--port", str(port), "--model", str(tiny_bundle), "--data-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err == (
        f"amcl-serve: error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another --port\n"
    )


def test_a_port_is_taken_from_the_moment_it_is_bound() -> None:
    settings = Settings(port=free_port())
    with listen(settings), pytest.raises(StartupError, match=rf"cannot listen on .* {settings.port}: Address already"):
        listen(settings)


def test_a_client_that_dawdles_does_not_hold_up_the_end(tiny_bundle: Path, tmp_path: Path) -> None:
    port = free_port()
    argv = ["serve", "--port", str(port), "--model", str(tiny_bundle), "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(
        [sys.executable, "-m", "amcl_serve.cli", *argv, "--request-deadline", "1"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\n?")
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            assert sock.recv(65536).startswith(b"HTTP/1.1 504 ")
            assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_serve_without_a_bundle_is_one_line() -> None:
    argv = [sys.executable, "-m", "amcl_serve.cli", "serve", "--port", str(free_port()), "--model", "/nowhere"]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("amcl-serve: error: ")
    assert run.stderr.count("\n") == 1
