"""The graph and its int8 form."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from export.graphs.int8 import to_int8
from export.graphs.traced import write_encoder, write_temperature
from export.networks import embed, onnx_network
from export.sources.checkpoint import served
from tests.export.tiny import SIZE, make_run, photos
from training.run.checkpoint import load_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(make_run(tmp_path_factory.mktemp("quantize") / "run"))


@pytest.fixture(scope="module")
def fp32(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "fp32.onnx"
    write_encoder(served(*model), path)
    return path


def operators(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def test_the_graph_is_lean(fp32):
    counts = operators(fp32)
    assert counts["Conv"] == 20
    assert counts["Gemm"] == 6  # two layers of three heads
    assert counts["BatchNormalization"] == 0
    assert counts["Gather"] == counts["Shape"] == counts["Expand"] == 0


def test_int8_quantises_every_layer_and_keeps_the_better_method(fp32, tmp_path):
    pixels = photos(32, seed=20)
    seen = []

    def quality(candidate):
        features = embed(onnx_network(candidate), pixels).features
        seen.append(features)
        return -float(len(seen))  # the first is best

    assert to_int8(fp32, tmp_path / "int8.onnx", pixels, quality) == "min-max"
    assert len(seen) == 3
    np.testing.assert_allclose(embed(onnx_network(tmp_path / "int8.onnx"), pixels).features, seen[0], rtol=1e-5)
    model = onnx.load(tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * fp32.stat().st_size
    weights = [numpy_helper.to_array(w) for w in model.graph.initializer if w.data_type == TensorProto.INT8 and w.dims]
    kernels = [w for w in weights if w.ndim == 4]
    assert len(kernels) == 20
    assert all(np.abs(w.astype(int)).max() <= 64 for w in kernels)  # 7 bits
    assert {node.domain for node in model.graph.node} == {""}


def test_pixels_are_normalised_in_float_by_long_rows_and_moved_only_once(fp32, tmp_path):
    to_int8(fp32, tmp_path / "int8.onnx", photos(32, seed=20), lambda _: 0.0)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3  # it warns that such a file fits this machine alone
    ort.InferenceSession(tmp_path / "int8.onnx", options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "loaded.onnx").graph
    order = [node.op_type for node in loaded.node]
    assert order[: order.index("QLinearConv")] == ["Reshape", "Cast", "Mul", "Add", "QuantizeLinear", "Reshape"]
    constants = {w.name: w.dims for w in loaded.initializer}
    (multiply,) = (node for node in loaded.node if node.op_type == "Mul")
    assert [list(constants[name]) for name in multiply.input if name in constants] == [[3 * SIZE]]


@pytest.mark.parametrize("standard", [False, True])
def test_temperature_has_both_inputs_and_a_free_batch(tmp_path, standard):
    run = make_run(tmp_path / "run", standard=standard)
    network, _ = load_model(run)
    write_temperature(network, tmp_path / "t.onnx")
    session = ort.InferenceSession(tmp_path / "t.onnx", providers=["CPUExecutionProvider"])
    heads = (network.num_heads, network.head_dim)
    assert [(i.name, tuple(i.shape)) for i in session.get_inputs()] == [
        ("heads_a", ("N", *heads)),
        ("heads_b", ("N", *heads)),
    ]
    for count in (1, 7):
        rows = np.random.default_rng(0).normal(size=(count, *heads)).astype(np.float32)
        (found,) = session.run(["temperature"], {"heads_a": rows, "heads_b": rows})
        assert found.shape == (count, network.num_heads)
