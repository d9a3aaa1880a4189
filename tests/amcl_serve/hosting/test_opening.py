from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from amcl_serve.errors import BundleError, ModelNotFound, ProviderUnavailable, StartupError
from amcl_serve.hosting import opening
from amcl_serve.hosting.opening import find_bundle, load_model, load_models
from amcl_serve.hosting.registry import Registry
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.providers import CPU, CUDA, TENSORRT
from amcl_serve.settings import Settings
from tests.fakes import make_bundle


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships one bundle, `alpha`."""
    monkeypatch.setattr(opening, "MODELS_DIR", tmp_path / "models")
    make_bundle(tmp_path / "models" / "alpha")
    (tmp_path / "models" / "not-a-bundle").mkdir()
    return tmp_path / "models"


def test_load_by_folder_and_ask_by_name(tiny_bundle: Path) -> None:
    model = load_model(Settings(model=str(tiny_bundle), session_threads=1))
    models = Registry(model)
    assert models.get() is models.get("default") is models.get("tiny") is model
    assert models.all() == [model]
    assert model.encoder.bundle is model.bundle
    assert not model.engine.healthy
    with pytest.raises(ModelNotFound, match="'big' is loaded; this server has 'tiny'"):
        models.get("big")


def test_the_first_of_several_is_the_default(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two", "three")):
        make_bundle(tmp_path / name, name=name, seed=seed)
    one, two, three = load_models(Settings(model=["one", "two", str(tmp_path / "three")], model_dir=tmp_path))
    models = Registry(two, one)
    assert models.get() is models.get("default") is models.get("two") is two
    assert models.put(three) is None
    assert models.all() == [two, one, three]
    assert models.put(replace(two, bundle=one.bundle)) is two
    assert (models.default, models.get().bundle) == ("two", one.bundle)
    assert models.with_digest(two.bundle.digest) is None
    assert models.with_digest(three.bundle.digest) is three
    assert models.remove("one") is one
    with pytest.raises(ModelNotFound, match="this server has 'two', 'three'"):
        models.get("one")


def test_a_model_of_the_model_folder_goes_before_a_shipped_one(shipped: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "own" / "alpha").parent
    assert find_bundle("alpha", folder) == folder / "alpha"
    assert find_bundle("default", folder) == shipped / "alpha"
    with pytest.raises(BundleError, match="shipped are alpha; the model folder has alpha"):
        find_bundle("beta", folder)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a machine without a GPU does under onnxruntime-gpu: CUDA is listed, the session runs on the CPU."""
    real, asked = ort.InferenceSession, []

    def session(path: Path, options: ort.SessionOptions | None = None, *, providers: list[str], **_: int) -> Any:
        asked.append(providers)
        return real(path, options, providers=[CPU])

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda directory: None, raising=False)
    monkeypatch.setattr(ort, "InferenceSession", session)
    return asked


def test_auto_goes_to_the_cpu_with_a_warning(
    tmp_path: Path, no_gpu: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_bundle(tmp_path / "tiny", precisions=("fp32", "fp16", "int8"))
    no_gpu.clear()
    encoder = load_model(Settings(model=str(folder), session_threads=1)).encoder
    assert (encoder.provider, encoder.precision) == (CPU, "int8")
    assert no_gpu == [[CUDA], [CPU], [CPU]]  # the last is the temperature
    assert "model tiny runs on the CPU: the provider CUDAExecutionProvider is not available" in caplog.text


def test_auto_does_not_try_what_is_not_built_in(tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_model(Settings(model=str(tiny_bundle), session_threads=1)).encoder.provider == CPU
    assert not caplog.records


@pytest.mark.parametrize("provider", ["auto", "cuda"])
@pytest.mark.parametrize("required", ["cuda", "CUDAExecutionProvider"])
def test_a_required_provider_is_not_fallen_back_from(
    tiny_bundle: Path, no_gpu: list[list[str]], provider: str, required: str
) -> None:
    settings = Settings(model=str(tiny_bundle), provider=provider, require_provider=required, session_threads=1)
    with pytest.raises(ProviderUnavailable, match="CUDAExecutionProvider is not available: its libraries"):
        load_model(settings)
    assert no_gpu == [[CUDA]]


def test_a_required_provider_that_is_not_asked_for(tiny_bundle: Path) -> None:
    settings = Settings(model=str(tiny_bundle), provider="cpu", require_provider="cuda", session_threads=1)
    with pytest.raises(ProviderUnavailable, match=r"CUDA.* is required, and CPU.* was asked for"):
        load_model(settings)
    for provider in ("auto", "cpu"):
        settings = Settings(model=str(tiny_bundle), provider=provider, require_provider="cpu", session_threads=1)
        assert load_model(settings).encoder.provider == CPU


@pytest.mark.parametrize(("provider", "asked"), [("cpu", "cpu"), ("auto", "auto"), ("cuda", "cuda")])
def test_options_of_a_provider_that_is_not_used(tiny_bundle: Path, provider: str, asked: str) -> None:
    settings = Settings(model=str(tiny_bundle), provider=provider, provider_options="openvino.device_type=GPU")
    with pytest.raises(StartupError, match=f"options of OpenVINOExecutionProvider, and the provider {asked} does not"):
        load_model(settings)


def test_options_are_for_the_provider_that_auto_tries(tiny_bundle: Path, no_gpu: list[Any]) -> None:
    load_model(Settings(model=str(tiny_bundle), provider_options="cuda.device_id=3", session_threads=1))
    assert no_gpu[:2] == [[(CUDA, {"device_id": "3"})], [CPU]]


def test_tensorrt_is_asked_for_with_cuda_behind_it(tiny_bundle: Path, no_gpu: list[Any], tmp_path: Path) -> None:
    names = [TENSORRT, CUDA, CPU]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort, "get_available_providers", lambda: names)
        for given in ({"provider": "tensorrt"}, {"require_provider": "tensorrt"}):
            with pytest.raises(ProviderUnavailable, match=r"Tensorrt.* is not available: its libraries"):
                load_model(Settings(model=str(tiny_bundle), session_threads=1, **given))
    assert no_gpu == [[TENSORRT, CUDA]] * 2


def test_nodes_that_are_left_to_the_cpu_are_warned_of(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    placed = {CUDA: {"Conv": 2}, CPU: {"Resize": 1}}
    monkeypatch.setattr(Encoder, "placement", property(lambda _: placed))
    load_model(Settings(model=str(tiny_bundle), session_threads=1))
    assert "model tiny on CPUExecutionProvider: 1 of 3 nodes run on the CPU (1 Resize)" in caplog.text
    caplog.clear()
    del placed[CPU]
    load_model(Settings(model=str(tiny_bundle), session_threads=1))
    assert not caplog.records


def test_the_only_shipped_bundle_is_the_default(shipped: Path) -> None:
    assert find_bundle("default") == find_bundle("alpha") == shipped / "alpha"


def test_several_shipped_bundles_leave_no_default(shipped: Path) -> None:
    make_bundle(shipped / "beta")
    assert find_bundle("beta") == shipped / "beta"
    with pytest.raises(BundleError, match="shipped are alpha, beta"):
        find_bundle("default")


@pytest.mark.parametrize("name", ["gamma", "not-a-bundle", "../models/alpha", "/nowhere"])
def test_other_names_list_what_is_shipped(shipped: Path, name: str) -> None:
    with pytest.raises(BundleError, match="shipped are alpha"):
        find_bundle(name)


def test_a_package_without_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MODELS_DIR", tmp_path)
    with pytest.raises(BundleError, match="none is shipped"):
        find_bundle("default")
