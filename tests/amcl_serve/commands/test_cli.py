from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

import amcl_serve
from amcl_serve import cli
from amcl_serve.commands.options import default_text, is_secret
from amcl_serve.commands.serve import listen
from amcl_serve.errors import StartupError
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture
from tests.fakes import HEAD_DIM, C, D, make_bundle


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("AMCL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for seed, path in enumerate(paths):
        path.write_bytes(picture(seed))
    return [str(path) for path in paths]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"amcl-serve {amcl_serve.__version__}\n"


@pytest.mark.parametrize("argv", [[], ["fly"], ["serve", "--colour"], ["embed"], ["embed", "a", "--outputs", "both"]])
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert "usage: amcl-serve" in capsys.readouterr().err


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


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from amcl_serve.commands.options import settings_from

    monkeypatch.setenv("AMCL_PORT", "8111")
    monkeypatch.setenv("AMCL_MAX_ITEMS", "7")
    args = cli.build_parser().parse_args(["serve", "--port", "8222", "--precision", "fp16"])
    settings = settings_from(args)
    assert (settings.port, settings.max_items, settings.precision) == (8222, 7, "fp16")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--port", "99999"], r"--port \(AMCL_PORT\): .*65535.*'99999'"),
        (["serve", "--precision", "int4"], r"--precision \(AMCL_PRECISION\): .*'int8'"),
        (["serve", "--host", "no.such.host.invalid", "--port", "8099"], "no.such.host.invalid"),
        (["embed", "x.png", "--model", "/nowhere"], "/nowhere|bundle"),
        (["doctor", "--max-items", "0"], "--max-items"),
        (["embed", "x.png", "--require-provider", "cuda"], "CUDAExecutionProvider is not available"),
        (["embed", "x.png", "--provider", "NoSuchExecutionProvider"], "NoSuchExecutionProvider is not available"),
    ],
)
def test_wrong_values_are_one_line_and_1(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 1
    err = capsys.readouterr().err
    assert err.startswith("amcl-serve: error: ")
    assert err.count("\n") == 1
    assert re.search(said, err)


def test_models_are_given_by_repeated_flags_or_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from amcl_serve.commands.options import settings_from

    parser = cli.build_parser()
    assert settings_from(parser.parse_args(["serve"])).model == ("default",)
    monkeypatch.setenv("AMCL_MODEL", "one, two")
    assert settings_from(parser.parse_args(["serve"])).model == ("one", "two")
    flags = ["--model", "a,b", "--model", "c"]
    assert settings_from(parser.parse_args(["serve", *flags])).model == ("a,b", "c")


def test_without_onnxruntime_the_error_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: object) -> int:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    assert cli.run_command(argparse.Namespace(run=missing)) == 1
    assert "amcl-serve[cpu]" in capsys.readouterr().err


def test_embed_prints_json_lines(tiny_bundle: Path, images: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--max-batch", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == images
    assert np.shape([line["embedding"] for line in lines]) == (2, D)
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--normalize"]) == 0
    unit = [json.loads(line)["embedding"] for line in capsys.readouterr().out.splitlines()]
    assert np.linalg.norm(unit, axis=1) == pytest.approx(1)
    raw = np.array([line["embedding"] for line in lines])
    assert np.allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)


def test_embed_writes_an_array(tiny_bundle: Path, images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--out", str(out), "--outputs", "heads"]) == 0
    array = np.load(out, allow_pickle=False)
    assert (array.shape, array.dtype) == ((2, C, HEAD_DIM), np.float32)
    nowhere = tmp_path / "no" / "vectors.npy"
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--out", str(nowhere)]) == 1


def test_embed_names_the_files_that_fail(
    tiny_bundle: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    files = [images[0], str(text), str(tmp_path / "missing.png"), images[1]]
    assert cli.main(["embed", *files, "--model", str(tiny_bundle)]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["file"] for line in captured.out.splitlines()] == images
    first, second = captured.err.splitlines()
    assert first.startswith(f"{text}: ")
    assert second == f"{tmp_path / 'missing.png'}: cannot be read: No such file or directory"


def test_embed_of_a_name_that_is_not_utf8(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    file.write_bytes(picture(1))
    assert cli.main(["embed", str(file), "--model", str(tiny_bundle)]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == f"{tmp_path}/caf\N{REPLACEMENT CHARACTER}.png"


def test_embedding_files_takes_no_web_server(tiny_bundle: Path, images: list[str]) -> None:
    code = (
        "import sys; from amcl_serve.cli import main; main(sys.argv[1:]);"
        "sys.exit(repr({'fastapi', 'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", code, "embed", images[0], "--normalize", "--model", str(tiny_bundle)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert run.stderr == "set()\n"


def test_similarity_prints_a_table_or_json(
    tiny_bundle: Path, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["similarity", images[0], images[0], "--model", str(tiny_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"verdict +same", lines[0])
    assert [line.split("  ")[0] for line in lines[1:5]] == ["probability", "score", "temperature", "feature cosine"]
    assert len([line for line in lines if re.fullmatch(r"head \d +1\.0000   temperature 0\.\d{4}", line)]) == C
    assert cli.main(["similarity", *images, "--json", "--model", str(tiny_bundle)]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["head_similarity"]) == len(scores["temperature"]) == C
    assert scores["score"] < 0.999


def test_similarity_of_an_uncalibrated_standard_model(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_bundle(tmp_path / "standard", adaptive=False, calibrated=False)
    assert cli.main(["similarity", *images, "--model", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "no calibration" in text
    assert "probability" not in text
    assert not re.search("^temperature", text, re.MULTILINE)


def test_similarity_of_a_bad_file_names_it(
    tiny_bundle: Path, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["similarity", images[0], "missing.png", "--model", str(tiny_bundle)]) == 1
    assert capsys.readouterr().err == "amcl-serve: error: missing.png: cannot be read: No such file or directory\n"


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


def test_doctor_shows_no_key(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMCL_API_KEY", "a-key-that-nobody-sees")
    cli.main(["doctor", "--model", str(tiny_bundle), "--data-dir", str(tmp_path), "--port", str(free_port())])
    cli.main(["doctor", "--port", "none"])
    said = "".join(capfd.readouterr())
    assert "not 'none'" in said
    assert "nobody-sees" not in said


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


def test_every_command_module_has_the_two_functions() -> None:
    for command in cli.COMMANDS:
        module = importlib.import_module(command.__name__)
        assert callable(module.add_parser)
        assert callable(module.run)
