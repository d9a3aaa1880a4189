from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amcl_serve import machine
from amcl_serve.commands import doctor
from amcl_serve.model.providers import CPU, CUDA
from amcl_serve.model.sessions import CUDA_VERSION
from tests.amcl_serve.commands.doctor.asking import Doctor

CUDNN, CUBLAS, DRIVER = "libcudnn.so.9", f"libcublas.so.{CUDA_VERSION.partition('.')[0]}", "libcuda.so.1"


@pytest.mark.parametrize(
    ("installed", "said"), [(doctor.RUNTIMES, "uninstall them, then install the one you need"), ((), "pip install")]
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


def test_lists_of_providers(ask: Doctor) -> None:
    code, lines = ask("--provider", "tensorrt")
    assert code == 1
    assert re.match(
        r"fail CUDAExecutionProvider, TensorrtExecutionProvider is asked for, .*amcl-serve\[gpu\]", lines["providers"]
    )
    assert lines["model"].startswith("fail the provider TensorrtExecutionProvider is not available")
    code, lines = ask("--provider", "cuda,cuda")
    assert code == 1
    assert lines["providers"].startswith("fail the provider 'cuda,cuda': a name is there twice")
    code, lines = ask("--provider-options", "device_type=GPU")
    assert code == 1
    assert lines["model"].startswith("fail the provider options 'device_type=GPU': give PROVIDER.OPTION=VALUE")


def test_nodes_that_are_left_to_the_cpu(ask: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    from amcl_serve.model.encoder import Encoder

    monkeypatch.setattr(Encoder, "placement", property(lambda _: {CUDA: {"Conv": 2}, CPU: {"Resize": 1}}))
    code, lines = ask()
    assert code == 0
    assert re.match(r"warn tiny, .*; 1 of 3 nodes run on the CPU \(1 Resize\)$", lines["model"])


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this look like onnxruntime-gpu where libraries are missing and the driver gives some GPUs."""
    import onnxruntime as ort

    from amcl_serve.hosting import opening

    real = ort.InferenceSession

    def session(path: Path, options: Any, providers: list[str], **_: int) -> Any:
        return real(path, options, providers=[CPU])

    def pretend(*missing: str, gpus: int = 0) -> None:
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(ort, "preload_dlls", lambda directory: print("noise"), raising=False)
        monkeypatch.setattr(machine, "_loads", lambda name: name not in missing)
        monkeypatch.setattr(machine, "gpus", lambda: gpus)

    assert opening.CUDA == CUDA
    return pretend


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
