"""`amcl-serve doctor`: each thing that can be wrong is put in its way, by small files, fakes or a taken port."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amcl_serve import cli, machine
from amcl_serve.commands import doctor
from amcl_serve.errors import StartupError
from amcl_serve.machine import Memory
from amcl_serve.model.sessions import CPU, CUDA, CUDA_VERSION
from amcl_serve.vectors.database import Database
from tests.amcl_serve.commands.test_cli import clean_environment, free_port
from tests.fakes import make_bundle

__all__ = ["clean_environment"]  # a fixture that every test here uses

MiB = 2**20
CHECKS = ["python", "keys", "onnxruntime", "providers", "memory", "model", "data folder", "disk", "port"]

Doctor = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def ask(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the doctor: its exit code and its lines by check; later flags go before the sound ones given here."""

    def ask(*argv: str) -> tuple[int, dict[str, str]]:
        sound = ["--data-dir", str(tmp_path / "data"), "--port", str(free_port()), "--max-pixels", "1000000"]
        model = [] if "--model" in argv else ["--model", str(tiny_bundle)]
        code = cli.main(["doctor", *sound, *model, *argv])
        lines = capsys.readouterr().out.splitlines()
        return code, {line[6:18].strip(): line[:5].strip() + " " + line[19:] for line in lines}

    return ask


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


@pytest.mark.parametrize(
    ("installed", "said"), [(doctor.RUNTIMES, "uninstall both, then install the one you need"), ((), "pip install")]
)
def test_both_wheels_or_none(
    ask: Doctor, monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name in installed else None)
    code, lines = ask()
    assert code == 1
    assert re.match(rf"fail .*{said}", lines["onnxruntime"])


def test_a_broken_onnxruntime(ask: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "onnxruntime",
        "amcl_serve.model.sessions",
        "amcl_serve.hosting.registry",
        "amcl_serve.hosting.lifecycle",
    ):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    code, lines = ask()
    assert code == 1
    assert lines["providers"] == "fail onnxruntime cannot be imported; uninstall it and install it again"
    assert lines["model"].startswith("fail not tried")


@pytest.mark.parametrize("flag", ["--provider", "--require-provider"])
def test_a_provider_that_this_onnxruntime_does_not_have(ask: Doctor, flag: str) -> None:
    code, lines = ask(flag, "cuda")
    assert code == 1
    assert re.match(
        r"fail CUDAExecutionProvider is asked for, .*CPUExecutionProvider: .*amcl-serve\[gpu\]", lines["providers"]
    )
    assert lines["model"].startswith("fail the provider CUDAExecutionProvider is not available")
    code, lines = ask(flag, "NoSuchExecutionProvider")
    assert code == 1
    assert re.match("fail NoSuchExecutionProvider is asked for, .*choose one of them", lines["providers"])


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this look like onnxruntime-gpu where libraries are missing and the driver gives some GPUs."""
    import onnxruntime as ort

    from amcl_serve.hosting import opening
    from amcl_serve.model import sessions

    real = ort.InferenceSession

    def session(path: Path, options: Any, providers: list[str]) -> Any:
        return real(path, options, providers=[CPU])

    def pretend(*missing: str, gpus: int = 0) -> None:
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(ort, "preload_dlls", lambda directory: print("noise"), raising=False)
        monkeypatch.setattr(machine, "_loads", lambda name: name not in missing)
        monkeypatch.setattr(machine, "gpus", lambda: gpus)

    assert opening.CUDA == sessions.CUDA
    return pretend


CUDNN, CUBLAS, DRIVER = "libcudnn.so.9", f"libcublas.so.{CUDA_VERSION.partition('.')[0]}", "libcuda.so.1"


@pytest.mark.parametrize(
    ("missing", "gpus", "said"),
    [
        ((CUDNN,), 1, rf"{CUDNN} cannot be loaded: .*amcl-serve\[gpu\]"),
        ((CUBLAS, CUDNN), 1, rf"{CUBLAS}, {CUDNN} cannot be loaded: .*loader's path"),
        ((DRIVER,), 0, rf"{DRIVER} cannot be loaded: install NVIDIA's driver"),
        ((CUBLAS, DRIVER), 0, rf"{CUBLAS} cannot be loaded: .*; {DRIVER} cannot be loaded: install"),
        ((), 0, "the driver gives this process no GPU: see nvidia-smi"),
    ],
)
def test_what_cuda_misses_is_named(
    ask: Doctor, gpu_build: Callable[..., None], missing: tuple[str, ...], gpus: int, said: str
) -> None:
    gpu_build(*missing, gpus=gpus)
    for flags, status in (((), "warn"), (("--provider", "cuda"), "fail"), (("--require-provider", "cuda"), "fail")):
        code, lines = ask(*flags)
        assert re.match(f"{status} {said}", lines["cuda"]), lines["cuda"]
        assert "noise" not in lines
        assert code == (1 if status == "fail" else 0)
        if status == "warn":
            assert lines["cuda"].endswith("until then the CPU is used")
            assert "on CPUExecutionProvider" in lines["model"]
        else:
            assert lines["model"].startswith("fail the provider CUDAExecutionProvider is not available: its libraries")
            assert all(name in lines["model"] for name in missing)


def test_cuda_that_misses_nothing(ask: Doctor, gpu_build: Callable[..., None]) -> None:
    gpu_build(gpus=2)
    _, lines = ask()
    assert lines["cuda"] == f"ok CUDA {CUDA_VERSION}: 6 libraries load, GPUs: 2"


def test_a_gpu_that_is_not_asked_for(ask: Doctor, gpu_build: Callable[..., None]) -> None:
    gpu_build()
    code, lines = ask("--provider", "cpu")
    assert code == 0  # a warning does not fail
    assert lines["providers"].startswith("warn CUDAExecutionProvider, CPU")
    assert "--provider cpu leaves the GPU" in lines["providers"]
    assert "cuda" not in lines


def test_libraries_are_looked_for_by_name() -> None:
    assert machine.missing_libraries(("libc.so.6", "libno-such-library.so.1")) == ["libno-such-library.so.1"]
    assert machine.cuda_libraries("12.8")[1:4] == ("libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12")


@pytest.mark.parametrize(
    ("free", "status", "said"),
    [
        (100 * MiB, "fail", "give it more, or serve fewer or smaller models"),
        (200 * MiB, "warn", r"under the worst load: give it more, or lower --max-pixels, --decode-threads"),
        (64_000 * MiB, "ok", "under the worst load"),
    ],
)
def test_memory(ask: Doctor, monkeypatch: pytest.MonkeyPatch, free: int, status: str, said: str) -> None:
    monkeypatch.setattr(machine, "memory", lambda: Memory(free, "the control group's limit of 512 MiB"))
    code, lines = ask()
    assert code == (1 if status == "fail" else 0)
    assert re.match(
        rf"{status} [\d,]+ MiB left by the control group's limit of 512 MiB, about 150 MiB .*{said}", lines["memory"]
    )


def test_the_memory_that_a_model_needs_grows_with_its_file(tmp_path: Path) -> None:
    from amcl_serve.hosting.opening import memory_needed
    from amcl_serve.model.bundle import Bundle

    bundle = Bundle.open(make_bundle(tmp_path / "b", precisions=("fp32", "fp16")))
    with bundle.encoder_path("fp16").open("ab") as stream:
        stream.write(bytes(1000))
    small, big = (bundle.encoder_path(precision).stat().st_size for precision in ("fp32", "fp16"))
    for precision, size in (("fp32", small), ("fp16", big), ("auto", big)):
        assert memory_needed(bundle, doctor.Settings(precision=precision)) == 6 * size


def test_memory_is_not_known(ask: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "memory", lambda: None)
    assert ask()[1]["memory"].startswith("warn not known here")
    monkeypatch.setattr(machine, "memory", lambda: Memory(MiB, "the machine's free memory"))
    assert "not known without the model" in ask("--model", str(tmp_path / "none"))[1]["memory"]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4096 kB\n"}


@pytest.mark.parametrize(
    ("files", "free", "bound"),
    [
        ({}, 4096 * 1024, "the machine's free memory"),
        (
            {  # a container: the group's path is the host's, its files are at the top
                "proc/self/cgroup": "0::/docker/abc\n",
                "sys/fs/cgroup/memory.max": str(3 * MiB),
                "sys/fs/cgroup/memory.current": str(2 * MiB),
                "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {MiB}\nslab 7\n",
            },
            2 * MiB,
            "the control group's limit of 3 MiB",
        ),
        (
            {  # a service: the group has no limit, the one around it has
                "proc/self/cgroup": "0::/system.slice/amcl.service\n",
                "sys/fs/cgroup/system.slice/amcl.service/memory.max": "max\n",
                "sys/fs/cgroup/system.slice/amcl.service/memory.current": "5",
                "sys/fs/cgroup/system.slice/memory.max": str(MiB),
                "sys/fs/cgroup/system.slice/memory.current": str(2 * MiB),
            },
            0,
            "the control group's limit of 1 MiB",
        ),
        (
            {  # version 1
                "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/job\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2 * MiB),
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(MiB),
                "sys/fs/cgroup/memory/job/memory.stat": "total_inactive_file 24\n",
            },
            MiB + 24,
            "the control group's limit of 2 MiB",
        ),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(900 * MiB)},
            4096 * 1024,
            "the machine's free memory",
        ),
    ],
)
def test_memory_under_every_limit(tmp_path: Path, files: dict[str, str], free: int, bound: str) -> None:
    assert machine.memory(write(tmp_path, MEMINFO | files)) == Memory(free, bound)


def test_memory_of_no_linux(tmp_path: Path) -> None:
    assert machine.memory(tmp_path) is None


def test_a_corrupt_bundle_beside_a_sound_one(ask: Doctor, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", name="other")
    (folder / "temperature.onnx").write_bytes(b"altered")
    code, lines = ask("--model", str(tiny_bundle), "--model", str(folder))
    assert code == 1
    assert lines["model"] == (
        "fail bundle bundle: temperature.onnx is not the file that the card describes; copy the bundle anew"
    )


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
