from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from amcl_serve.errors import BundleError, ProviderUnavailable
from amcl_serve.model.bundle import Bundle, Precision, file_entry
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.providers import CPU, CUDA
from tests.fakes import HEAD_DIM, C, D, encoder_graph, make_bundle

RNG = np.random.default_rng(0)


@pytest.fixture
def encoder(tiny_bundle: Path) -> Encoder:
    return Encoder.load(Bundle.open(tiny_bundle), session_threads=1)


def altered(bundle: Bundle, **changes: object) -> Bundle:
    """The bundle with another card, as if it had been written so."""
    return Bundle(bundle.folder, bundle.card.model_copy(update=changes), bundle.digest)


def test_shapes_types_and_unit_heads(encoder: Encoder) -> None:
    found = encoder.encode(RNG.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8))
    assert len(found) == 5
    assert found.features.shape == (5, D)
    assert found.heads.shape == (5, C, HEAD_DIM)
    assert found.features.dtype == found.heads.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.heads, axis=-1), 1, rtol=1e-5)


def test_without_heads_there_are_features_alone(encoder: Encoder, tmp_path: Path) -> None:
    headless = Encoder.load(Bundle.open(make_bundle(tmp_path / "headless", heads=False)), session_threads=1)
    headless.verify_probe()
    pixels = RNG.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    found = headless.encode(pixels)
    np.testing.assert_array_equal(found.features, encoder.encode(pixels).features)
    assert found.heads.shape == (5, 0, 0)
    headless.reopen()
    assert len(headless.encode(pixels)) == 5


def test_a_graph_without_the_cards_heads_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle"))
    path = bundle.encoder_path("fp32")
    path.write_bytes(encoder_graph(16, heads=False).SerializeToString())
    with pytest.raises(BundleError, match=r"asks for heads of tensor\(float\) \[N, 3, 4\].*the graph has none"):
        Encoder.load(bundle, session_threads=1)


def test_a_batch_is_its_rows(encoder: Encoder) -> None:
    pixels = RNG.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    together = encoder.encode(pixels)
    for row in (0, 31):
        alone = encoder.encode(pixels[row : row + 1])
        np.testing.assert_allclose(alone.features[0], together.features[row], atol=1e-5)
        np.testing.assert_allclose(alone.heads[0], together.heads[row], atol=1e-5)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 16, 16, 3), np.float32),
        np.zeros((16, 16, 3), np.uint8),
        np.zeros((1, 3, 16, 16), np.uint8),
        np.zeros((1, 17, 16, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(encoder: Encoder, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[N, 16, 16, 3\]"):
        encoder.encode(pixels)


@pytest.mark.parametrize(
    ("precisions", "chosen"),
    [(("fp32", "fp16", "int8"), "int8"), (("fp32", "fp16"), "fp32"), (("fp16",), "fp16")],
)
def test_auto_on_cpu(tmp_path: Path, precisions: tuple[Precision, ...], chosen: Precision) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "b", precisions=precisions))
    assert Encoder.load(bundle, session_threads=1).precision == chosen


def test_a_precision_that_is_not_there(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no int8 encoder; it has fp32"):
        Encoder.load(Bundle.open(tiny_bundle), precision="int8", session_threads=1)


def test_provider_is_the_one_in_use(encoder: Encoder) -> None:
    assert encoder.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("provider", ["NoSuchExecutionProvider", "tpu"])
def test_unknown_provider_lists_what_there_is(tiny_bundle: Path, provider: str) -> None:
    with pytest.raises(ProviderUnavailable, match=rf"{provider}.*CPUExecutionProvider"):
        Encoder.load(Bundle.open(tiny_bundle), provider=provider, session_threads=1)


def test_cuda_that_is_not_built_in_says_what_to_install(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with pytest.raises(ProviderUnavailable, match=r"amcl-serve\[gpu\]"):
        Encoder.load(Bundle.open(tiny_bundle), provider="cuda", session_threads=1)


def test_a_silent_fallback_is_an_error(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine without a GPU does under onnxruntime-gpu: CUDA is listed, the session runs on the CPU."""
    real = ort.InferenceSession

    def fall_back(path: Path, options: ort.SessionOptions, providers: list[str], **_: int) -> ort.InferenceSession:
        assert providers == [CUDA]
        return real(path, options, providers=[CPU])

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(ProviderUnavailable, match="its libraries or its device did not load"):
        Encoder.load(Bundle.open(tiny_bundle), provider="cuda", session_threads=1)


def test_cudas_libraries_are_loaded_from_where_pip_puts_them(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ort.InferenceSession
    calls: list[str] = []

    def session(path: Path, options: ort.SessionOptions, providers: list[str], **_: int) -> ort.InferenceSession:
        calls.append(providers[0])
        return real(path, options, providers=[CPU])

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "preload_dlls", lambda directory: calls.append(f"preload {directory!r}"), raising=False)
    Encoder.load(Bundle.open(tiny_bundle), session_threads=1)
    with pytest.raises(ProviderUnavailable):  # this session runs on the CPU
        Encoder.load(Bundle.open(tiny_bundle), provider="cuda", session_threads=1)
    assert calls == [CPU, "preload ''", CUDA]


def test_no_graph_at_all(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "b"))
    bundle.encoder_path("fp32").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"b/encoder\.fp32\.onnx is no graph"):
        Encoder.load(bundle, session_threads=1)


@pytest.mark.parametrize("changes", [{"feature_dim": D + 1}, {"num_heads": 2}, {"head_dim": 5}])
def test_a_graph_that_does_not_fit_its_card(tiny_bundle: Path, changes: dict[str, int]) -> None:
    with pytest.raises(BundleError, match=r"the card asks for (features|heads)"):
        Encoder.load(altered(Bundle.open(tiny_bundle), **changes), session_threads=1)


def test_a_graph_of_another_size_or_a_fixed_batch(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "b"))
    bundle.encoder_path("fp32").write_bytes(encoder_graph(32).SerializeToString())
    with pytest.raises(BundleError, match=r"pixels of tensor\(uint8\) \[N, 16, 16, 3\]"):
        Encoder.load(bundle, session_threads=1)
    fixed = encoder_graph(16)
    for node in (*fixed.graph.input, *fixed.graph.output):
        node.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, bundle.encoder_path("fp32"))
    with pytest.raises(BundleError, match="dynamic N"):
        Encoder.load(bundle, session_threads=1)


def test_probe(encoder: Encoder) -> None:
    encoder.verify_probe()


def test_another_networks_probe_is_noticed(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    turned = bundle.card.probe.model_copy(update={"features": {"fp32": bundle.card.probe.features["fp32"][::-1]}})
    with pytest.raises(BundleError, match=r"cosine of .* below 0\.999"):
        Encoder.load(altered(bundle, probe=turned), session_threads=1).verify_probe()


@pytest.mark.parametrize("features", [{}, {"fp32": [1.0]}, {"int8": [1.0] * D}])
def test_no_probe_for_the_precision(tiny_bundle: Path, features: dict[str, list[float]]) -> None:
    bundle = Bundle.open(tiny_bundle)
    probe = bundle.card.probe.model_copy(update={"features": features})
    with pytest.raises(BundleError, match="no probe of 8 values for fp32"):
        Encoder.load(altered(bundle, probe=probe), session_threads=1).verify_probe()


def test_the_fake_bundle_is_what_it_says(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    onnx.checker.check_model(onnx.load(bundle.encoder_path("fp32")), full_check=True)
    onnx.checker.check_model(onnx.load(bundle.temperature_path), full_check=True)
    assert file_entry(bundle.temperature_path) == bundle.card.files["temperature.onnx"]


@pytest.mark.parametrize(("seconds", "asked", "threads"), [(0.02, None, 4), (0.001, None, 1), (0.02, 2, 2)])
def test_a_slow_network_gets_every_core_for_a_call(
    seconds: float, asked: int | None, threads: int, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amcl_serve.model.encoder.cores", lambda: 4)
    monkeypatch.setattr(Encoder, "_seconds", lambda _: seconds)
    assert Encoder.load(Bundle.open(tiny_bundle), session_threads=asked).session_threads == threads
