"""Sessions on other providers than the CPU: what runs where, what cannot, and who reads a bundle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from amcl_serve.errors import BundleError, ProviderUnavailable
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.providers import CPU, CUDA, OPENVINO, TENSORRT
from amcl_serve.model.sessions import left_to_the_cpu, open_session, placement
from tests.fakes import make_bundle

AZURE = "AzureExecutionProvider"  # of every CPU build; it takes no standard operator
ASKED = "get_provider_graph_assignment_info"

with_openvino = pytest.mark.skipif(OPENVINO not in ort.get_available_providers(), reason="needs onnxruntime-openvino")


def part(provider: str, *operators: str) -> Any:
    """A part of a graph as onnxruntime tells of it."""
    nodes = [SimpleNamespace(op_type=operator) for operator in operators]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


def session(*parts: Any, provider: str = CUDA) -> Any:
    return SimpleNamespace(get_providers=lambda: [provider, CPU], get_provider_graph_assignment_info=lambda: parts)


def test_nodes_are_counted_by_provider_and_operator() -> None:
    placed = placement(session(part(CUDA, "Conv", "Relu", "Conv"), part(CPU, "NonZero"), part(CPU, "Resize", "Resize")))
    assert placed == {CUDA: {"Conv": 2, "Relu": 1}, CPU: {"NonZero": 1, "Resize": 2}}
    assert left_to_the_cpu(placed) == "3 of 6 nodes run on the CPU (2 Resize, 1 NonZero)"


def test_nothing_is_left_to_the_cpu_or_nothing_is_known() -> None:
    placed = placement(session(part(TENSORRT, "Conv"), part(CUDA, "Resize"), provider=TENSORRT))
    assert placed is not None
    assert left_to_the_cpu(placed) is None
    assert placement(session(part(CPU, "Conv"), provider=CPU)) is None
    old: Any = SimpleNamespace(get_providers=lambda: [CUDA, CPU])  # before onnxruntime 1.24
    assert placement(old) is None


def test_a_session_on_the_cpu_says_nothing_of_places(tiny_bundle: Path) -> None:
    assert Encoder.load(Bundle.open(tiny_bundle), session_threads=1).placement is None


@pytest.mark.skipif(
    AZURE not in ort.get_available_providers() or not hasattr(ort.InferenceSession, ASKED),
    reason="needs a CPU build of onnxruntime 1.24 or later",
)
def test_a_provider_that_takes_no_node_is_an_error(tiny_bundle: Path) -> None:
    with pytest.raises(ProviderUnavailable, match=rf"{AZURE} is not available: it takes no node of encoder.fp32.onnx"):
        Encoder.load(Bundle.open(tiny_bundle), provider=AZURE, session_threads=1)


def test_a_list_and_its_options_reach_onnxruntime(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def refuse(path: Path, options: Any, **given: Any) -> None:
        seen.append((given, options.get_session_config_entry("session.record_ep_graph_assignment_info")))
        raise RuntimeError("unknown option 'devise_id'\nand a page of more")

    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda directory: None, raising=False)
    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(ProviderUnavailable, match=r"Tensorrt.* could not start it.* \(unknown option 'devise_id'\)\. "):
        Encoder.load(Bundle.open(tiny_bundle), provider="tensorrt", options={CUDA: {"devise_id": "1"}})
    assert seen == [({"providers": [TENSORRT, (CUDA, {"devise_id": "1"})], "enable_fallback": 0}, "1")]


def test_a_fallback_that_is_not_built_in_is_named(tiny_bundle: Path) -> None:
    with pytest.raises(ProviderUnavailable, match=r"NoSuchExecutionProvider is not available: .* built without it"):
        Encoder.load(Bundle.open(tiny_bundle), provider="NoSuchExecutionProvider,cpu")


@pytest.mark.parametrize(
    ("least", "refused"), [(None, False), ("1.18", False), (ort.__version__, False), ("99.1", True), ("999", True)]
)
def test_a_bundle_for_a_newer_onnxruntime_says_what_to_do(tmp_path: Path, least: str | None, refused: bool) -> None:
    opened = Bundle.open(make_bundle(tmp_path / "tiny"))
    bundle = Bundle(opened.folder, opened.card.model_copy(update={"onnxruntime": least}), opened.digest)
    if not refused:
        assert Encoder.load(bundle, session_threads=1).provider == CPU
        return
    bundle.encoder_path("fp32").write_bytes(b"what onnxruntime would fail with something obscure on")
    said = rf"bundle tiny needs onnxruntime {least} or newer, and {ort.__version__} is installed: upgrade it"
    with pytest.raises(BundleError, match=said):
        Encoder.load(bundle, session_threads=1)


@with_openvino
def test_openvino_embeds_as_the_cpu_does(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    found = Encoder.load(bundle, provider="openvino", options={OPENVINO: {"device_type": "CPU"}})
    assert found.provider == OPENVINO
    assert found.placement is not None
    assert left_to_the_cpu(found.placement) is None
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    expected = Encoder.load(bundle, session_threads=1).encode(pixels)
    np.testing.assert_allclose(found.encode(pixels).features, expected.features, atol=1e-3)


@with_openvino
def test_what_openvino_does_not_take_is_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Det", ["positive"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "mixed.onnx")
    found = placement(open_session(tmp_path / "mixed.onnx", threads=1, providers=(OPENVINO,)))
    assert found is not None
    assert left_to_the_cpu(found) == "1 of 2 nodes run on the CPU (1 Det)"


@with_openvino
@pytest.mark.parametrize("options", [{"device_type": "GPU.7"}, {"no_such_option": "1"}])
def test_options_that_openvino_refuses(tmp_path: Path, options: dict[str, str]) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle"))
    with pytest.raises(ProviderUnavailable, match=next(iter(options))):
        Encoder.load(bundle, provider="openvino", options={OPENVINO: options})
