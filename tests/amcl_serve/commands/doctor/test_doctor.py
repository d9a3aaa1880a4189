"""`amcl-serve doctor`: each thing that can be wrong is put in its way, by small files, fakes or a taken port."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from amcl_serve import cli
from amcl_serve.commands import doctor
from amcl_serve.errors import StartupError
from amcl_serve.model.children import process
from amcl_serve.model.children.pool import Pool
from amcl_serve.vectors.sqlite.database import Database
from tests.amcl_serve.commands.doctor.asking import CHECKS, Doctor, MiB
from tests.amcl_serve.commands.ports import free_port
from tests.fakes import make_bundle
from tests.milvus import Lite


def test_nothing_wrong(ask: Doctor) -> None:
    code, lines = ask()
    assert code == 0
    assert list(lines) == CHECKS
    assert all(line.startswith("ok") for line in lines.values()), lines


def test_json(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for folder, ok in ((tmp_path / "data", True), (tmp_path / "file", False)):
        argv = ["--model", str(tiny_bundle), "--data-dir", str(folder), "--port", str(free_port())]
        assert cli.main(["doctor", "--json", *argv, "--max-pixels", "1000000"]) == (0 if ok else 1)
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is ok
        assert [check["check"] for check in report["checks"]] == CHECKS
        assert {tuple(check) for check in report["checks"]} == {("status", "check", "detail")}
        status = {check["check"]: check["status"] for check in report["checks"]}
        assert status["data folder"] == ("ok" if ok else "fail")


def test_children_that_cannot_be_started(ask: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1)
    monkeypatch.setattr("amcl_serve.model.pixels.shared", lambda: pool)
    monkeypatch.setattr(process, "_BOOT", "")
    code, lines = ask()
    assert code == 1
    assert lines["decoding"].startswith("fail a child process cannot decode: the server failed to start a process")


def test_keys(ask: Doctor, tmp_path: Path) -> None:
    file, missing = tmp_path / "keys", tmp_path / "missing"
    file.write_text("secret-key")
    code, lines = ask("--api-key-file", str(file))
    assert (code, lines["keys"]) == (0, "ok asked for")
    code, lines = ask("--api-key-file", str(missing))
    assert (code, list(lines)) == (1, CHECKS)
    assert re.match(rf"fail the key file {missing} cannot be read", lines["keys"])
    code, lines = ask("--api-key-file", str(file), "--read-only-api-key-file", str(file))
    assert (code, lines["keys"][:5], "secret-key" in str(lines)) == (1, "fail ", False)


def test_a_corrupt_bundle_beside_a_sound_one(ask: Doctor, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", name="other")
    (folder / "temperature.onnx").write_bytes(b"altered")
    code, lines = ask("--model", str(tiny_bundle), "--model", str(folder))
    assert code == 1
    assert lines["model"] == (
        "fail bundle bundle: temperature.onnx is not the file that the card describes; copy the bundle anew"
    )


def test_milvus_in_place_of_a_folder(ask: Doctor, tmp_path: Path) -> None:
    others = [check for check in CHECKS if check not in ("data folder", "disk", "port")]
    lite = Lite(tmp_path / "milvus")
    address = lite.start()
    code, lines = ask("--vectors", f"milvus://{address}")
    lite.stop()
    assert (code, list(lines), lines["milvus"]) == (0, [*others, "milvus", "port"], f"ok answers at {address}")
    code, lines = ask("--vectors", f"milvus://{address}")
    assert code == 1
    assert lines["milvus"].startswith(f"fail no Milvus answers at {address}, ")


def test_every_model_has_a_line(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_bundle(tmp_path / "other", name="other")
    argv = ["--model", str(tiny_bundle), "--model", str(other), "--data-dir", str(tmp_path), "--port", str(free_port())]
    cli.main(["doctor", "--json", *argv])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [c["detail"].split(",")[0] for c in checks if c["check"] == "model"] == ["tiny", "other"]


def test_a_model_that_loads_and_does_not_run(ask: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    from amcl_serve.model.encoder import Encoder

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Encoder, "encode", fail)
    code, lines = ask()
    assert code == 1
    assert re.match("fail model tiny cannot embed 1 images at once on CPU.* lower --max-batch", lines["model"])


def test_a_data_folder_that_cannot_be_written(ask: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    code, lines = ask("--data-dir", str(tmp_path / "file"))
    assert code == 1
    assert lines["data folder"].startswith("fail")

    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    code, lines = ask()
    assert code == 1
    assert re.match("fail .*Permission denied; choose another --data-dir or allow writing", lines["data folder"])


def test_a_data_folder_that_is_held_or_broken(ask: Doctor, tmp_path: Path) -> None:
    held = Database(tmp_path)
    code, lines = ask("--data-dir", str(tmp_path))
    held.close()
    assert code == 1
    assert re.match(
        rf"fail the data folder .* is in use by another server \(process {os.getpid()}\)", lines["data folder"]
    )
    assert ask("--data-dir", str(tmp_path))[0] == 0
    (tmp_path / "collections.sqlite3").write_bytes(b"no database" * 1000)
    code, lines = ask("--data-dir", str(tmp_path))
    assert code == 1
    assert "cannot be used as the collections' file" in lines["data folder"]


@pytest.mark.parametrize(("free", "status"), [(50 * MiB, "fail"), (500 * MiB, "warn"), (5000 * MiB, "ok")])
def test_a_disk_that_is_nearly_full(ask: Doctor, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    code, lines = ask()
    assert code == (1 if status == "fail" else 0)
    assert re.match(rf"{status} (only )?[\d,]+ MiB free for ", lines["disk"])
    assert ("make room" in lines["disk"]) == (status != "ok")


def test_a_busy_port(ask: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, lines = ask("--port", str(taken.getsockname()[1]))
    assert code == 1
    assert re.match("fail cannot listen on .*Address already in use; choose another --port", lines["port"])


def test_every_failure_is_told_in_one_line(ask: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise StartupError("a sentence")

    monkeypatch.setattr(doctor, "listen", fail)
    assert ask()[1]["port"] == "fail a sentence"
