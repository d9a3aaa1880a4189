"""The float16 encoder: which operators compute in it, what stays float32, and weights that are stored in it alone."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.graphs.float16 import (
    compute_in_float16,
    round_as_float16,
    store_in_float16,
    to_fp16,
    to_rounded,
)
from export.graphs.traced import write_encoder
from export.networks import embed, onnx_network, torch_network
from export.sources.checkpoint import served
from export.verify import misses, parity
from export.whiten import fit
from tests.export.tiny import make_run, photos
from training.run.checkpoint import load_model

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
VIT = ("backbone.name=vit", "backbone.width=48", "backbone.depth=2", "backbone.attention_heads=3", "backbone.patch=8")


@pytest.fixture(scope="module", params=["resnet", "vit"])
def encoder(request, tmp_path_factory):
    """A whitened encoder in PyTorch, and the file of its float32 graph."""
    home = tmp_path_factory.mktemp(request.param)
    encoder = served(*load_model(make_run(home / "run", *(VIT if request.param == "vit" else ()))))
    encoder.whiten(fit(embed(torch_network(encoder), photos(200, seed=1)).features, "half"))
    write_encoder(encoder, home / "fp32.onnx")
    return encoder, home / "fp32.onnx"


def kinds(path):
    """Operator -> the types that it computes in, {type: nodes}; of a graph whose types are sound."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output, *graph.input)}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    found = collections.defaultdict(collections.Counter)
    for node in graph.node:
        inputs = {types[name] for name in node.input if name and types[name] in (FLOAT, HALF)}
        assert len(inputs) <= 1, f"{node.op_type} mixes types"
        found[node.op_type][types[node.output[0]]] += 1
        if node.op_type not in ("Cast", "Shape"):
            assert not inputs or inputs == {types[node.output[0]]}
    return found


def test_products_compute_in_float16_and_what_is_sensitive_in_float32(encoder, tmp_path):
    before = kinds(encoder[1])
    to_fp16(encoder[1], tmp_path / "fp16.onnx")
    after = kinds(tmp_path / "fp16.onnx")
    for operator in ("Conv", "Gemm", "Relu", "Gelu", "MaxPool"):
        assert after[operator] == {HALF: before[operator][FLOAT]} if before[operator] else not after[operator]
    whitening = 1
    assert after["MatMul"] == collections.Counter({HALF: before["MatMul"][FLOAT] - whitening, FLOAT: whitening})
    assert sum(after[operator][HALF] for operator in ("Conv", "Gemm", "MatMul")) > 8
    for operator in ("LayerNormalization", "Softmax", "ReduceMean", "ReduceL2", "Div", "Clip", "Max", "Sub"):
        assert not after[operator][HALF], operator
    assert after["Mul"][FLOAT] >= 1  # of the pixels
    outputs = onnx.load(tmp_path / "fp16.onnx").graph.output
    assert {value.type.tensor_type.elem_type for value in outputs} == {FLOAT}
    assert (tmp_path / "fp16.onnx").stat().st_size < 0.6 * encoder[1].stat().st_size


def test_no_number_passes_through_float16_between_operators_of_float32(encoder, tmp_path):
    to_fp16(encoder[1], tmp_path / "fp16.onnx")
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert not [node for node in casts if node.input[0] in makers and makers[node.input[0]].op_type == "Cast"]


def test_it_agrees_with_pytorch(encoder, tmp_path):
    to_fp16(encoder[1], tmp_path / "fp16.onnx")
    pixels = photos(40, seed=2)
    reference = embed(torch_network(encoder[0]), pixels)
    found = embed(onnx_network(tmp_path / "fp16.onnx"), pixels)
    assert misses("fp16", parity(reference, found)) == []
    assert np.abs(reference.features - found.features).max() > 0
    np.testing.assert_allclose(np.linalg.norm(found.heads, axis=-1), 1, atol=1e-5)


def test_a_device_s_rounding_is_looked_at_and_harms_little(encoder, tmp_path):
    to_fp16(encoder[1], tmp_path / "fp16.onnx")
    to_rounded(encoder[1], tmp_path / "rounded.onnx")
    pixels = photos(40, seed=2)
    reference = embed(torch_network(encoder[0]), pixels)
    found = {name: embed(onnx_network(tmp_path / f"{name}.onnx"), pixels) for name in ("fp16", "rounded")}
    apart = {name: np.abs(each.features - reference.features).mean() for name, each in found.items()}
    assert apart["rounded"] > 1.2 * apart["fp16"]  # on a CPU next to nothing but weights is rounded
    assert misses("fp16", parity(reference, found["rounded"])) == []


def small(*nodes, outputs=("features",), **weights):
    """A model x [N, 8] -> `outputs`, in order of `nodes`."""
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "small",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 8])],
        [helper.make_tensor_value_info(name, FLOAT, ["N", None]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model, x):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})


def test_an_inner_tensor_that_is_an_output_and_weights_that_two_kinds_use():
    rng = np.random.default_rng(0)
    model = small(
        ("MatMul", ["x", "w"], ["inner"]),
        ("Add", ["inner", "b"], ["sum"]),
        ("Softmax", ["sum"], ["shares"]),
        ("Mul", ["shares", "b"], ["weighed"]),
        ("Add", ["sum", "weighed"], ["features"]),
        outputs=("features", "inner"),
        w=rng.normal(size=(8, 8)).astype(np.float32),
        b=rng.normal(size=8).astype(np.float32),
    )
    x = rng.normal(size=(5, 8)).astype(np.float32)
    expected = run(model, x)
    compute_in_float16(model)
    onnx.checker.check_model(model, full_check=True)
    for found, wanted in zip(run(model, x), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=0.02)
    assert {weight.data_type for weight in model.graph.initializer if weight.name.startswith("b")} == {FLOAT, HALF}


def test_shapes_and_indices_keep_their_types():
    model = small(
        ("MatMul", ["x", "w"], ["y"]),
        ("Reshape", ["y", "shape"], ["square"]),
        ("Clip", ["square", "low", ""], ["positive"]),
        ("Gather", ["positive", "places"], ["some"], {"axis": 1}),
        ("Flatten", ["some"], ["features"]),
        w=np.eye(8, dtype=np.float32),
        shape=np.array([-1, 4, 2], np.int64),
        low=np.float32(0),
        places=np.array([2, 0], np.int64),
    )
    x = np.arange(-4, 4, dtype=np.float32)[None]
    compute_in_float16(model)
    onnx.checker.check_model(model, full_check=True)
    assert run(model, x)[0].tolist() == [[0, 1, 0, 0]]


def test_weights_beyond_float16_do_not_become_infinite():
    for rewrite in (compute_in_float16, store_in_float16):
        model = small(("MatMul", ["x", "w"], ["features"]), w=np.full((8, 1024), -1e6, np.float32))
        rewrite(model)
        (half,) = (numpy_helper.to_array(w) for w in model.graph.initializer if w.data_type == HALF)
        assert half.min() == np.finfo(np.float16).min


def test_weights_that_are_stored_alone_are_cast_once_and_computed_in_float32(encoder, tmp_path):
    to_fp16(encoder[1], tmp_path / "stored.onnx", computed=False)
    full = {w.name: numpy_helper.to_array(w) for w in onnx.load(encoder[1]).graph.initializer}
    half = {w.name: numpy_helper.to_array(w) for w in onnx.load(tmp_path / "stored.onnx").graph.initializer}
    for name, values in full.items():
        stored = half[name] if name in half else half[f"{name}.fp16"]
        assert np.array_equal(stored, values.astype(stored.dtype))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(tmp_path / "stored.onnx", options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "loaded.onnx").graph
    assert [node.op_type for node in loaded.node].count("Cast") == 1  # of the pixels
    assert HALF not in {w.data_type for w in loaded.initializer}


def test_rounding_is_that_of_float16_and_overflows_as_it_does():
    rng = np.random.default_rng(1)
    w, v, x = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 8), (8, 4), (6, 8)))
    x[5] *= 1e5
    model = small(("MatMul", ["x", "w"], ["y"]), ("Relu", ["y"], ["z"]), ("MatMul", ["z", "v"], ["features"]), w=w, v=v)
    compute_in_float16(model)
    round_as_float16(model)
    onnx.checker.check_model(model, full_check=True)

    def half(values):
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)

    with np.errstate(invalid="ignore"):
        expected = half(half(half(half(x) @ half(w)).clip(0)) @ half(v))
    (found,) = run(model, x)
    np.testing.assert_array_equal(found[:5], expected[:5])
    assert not np.isfinite(found[5]).all()
