"""Graphs around and within a graph from elsewhere: pixels before it, features behind it, a batch of any size in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from export.graphs.nodes import opset, reads
from export.sources.onnx_file.ends import Entry, Exit
from export.sources.preprocessing import Preprocessing
from export.whiten import Whitening

_OWN = "source/"  # before every name of the graph, lest they be ours


def encoder(
    model: onnx.ModelProto, ends: tuple[Entry, Exit], how: Preprocessing, whitening: Whitening | None
) -> onnx.ModelProto:
    """`model` from pixels uint8 [N, S, S, 3] to features float32 [N, D], less what those do not need of it."""
    inner = compose.add_prefix(model, _OWN)
    first, last = ends
    weights: list[TensorProto] = []
    nodes = [
        *_before(first, how, weights),
        *inner.graph.node,
        *_behind(last, opset(model), whitening, weights),
    ]
    nodes = _needed(nodes, "features")
    for index, node in enumerate(nodes):  # a quantiser tells them apart by names, which many files lack
        node.name = f"{node.op_type}_{index}"
    used = {name for node in nodes for name in reads(node)}
    size, features = how.spec.size, helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", last.dim])
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])],
        [features],
        [weight for weight in (*weights, *inner.graph.initializer) if weight.name in used],
    )
    graph.sparse_initializer.extend(s for s in inner.graph.sparse_initializer if s.values.name in used)
    imports = [*model.opset_import]
    return helper.make_model(
        graph,
        functions=list(inner.functions),
        opset_imports=imports,
        ir_version=max(model.ir_version, helper.find_min_ir_version_for(imports, ignore_unknown=True)),
    )


def with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto | None:
    """`model` with its inner tensor `name` as its only output; None where there is none, or its type is unknown."""
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    if name not in known:
        return None
    found = copy.deepcopy(model)
    del found.graph.output[:]
    found.graph.output.append(known[name])
    return found


def _before(entry: Entry, how: Preprocessing, weights: list[TensorProto]) -> Iterator[onnx.NodeProto]:
    """From pixels to the graph's input; by rows of 3 S numbers, which onnxruntime broadcasts fast over."""
    size = how.spec.size
    scale, shift = (np.tile(values, size) for values in (how.scale, how.shift))
    (layout,) = entry.layouts
    name = _OWN + entry.name
    images = "images" if layout == "NCHW" else name
    yield helper.make_node("Reshape", ["pixels", _constant(weights, "rows", [-1, size, 3 * size])], ["bytes"])
    yield helper.make_node("Cast", ["bytes"], ["values"], to=TensorProto.FLOAT)
    yield helper.make_node("Mul", ["values", _constant(weights, "scale", scale)], ["scaled"])
    yield helper.make_node("Add", ["scaled", _constant(weights, "shift", shift)], ["shifted"])
    yield helper.make_node("Reshape", ["shifted", _constant(weights, "square", [-1, size, size, 3])], [images])
    if layout == "NCHW":
        yield helper.make_node("Transpose", [images], [name], perm=[0, 3, 1, 2])


def _behind(
    exit_: Exit, version: int, whitening: Whitening | None, weights: list[TensorProto]
) -> Iterator[onnx.NodeProto]:
    """From the chosen tensor to features."""
    yield helper.make_node("Cast", [_OWN + exit_.name], ["places"], to=TensorProto.FLOAT)  # onnxruntime drops idle ones
    vectors = "vectors" if whitening is not None else "features"
    if exit_.rank == 4:
        yield helper.make_node("GlobalAveragePool", ["places"], ["pooled"])
        yield helper.make_node("Flatten", ["pooled"], [vectors], axis=1)
    elif exit_.pool == "cls":
        first = _constant(weights, "first", np.array(0, np.int64))
        yield helper.make_node("Gather", ["places", first], [vectors], axis=1)
    elif exit_.pool == "mean" and version >= 18:
        yield helper.make_node("ReduceMean", ["places", _constant(weights, "axes", [1])], [vectors], keepdims=0)
    elif exit_.pool == "mean":
        yield helper.make_node("ReduceMean", ["places"], [vectors], axes=[1], keepdims=0)
    else:
        yield helper.make_node("Identity", ["places"], [vectors])
    if whitening is not None:
        yield helper.make_node("Sub", [vectors, _constant(weights, "centre", whitening.centre)], ["centred"])
        yield helper.make_node("MatMul", ["centred", _constant(weights, "matrix", whitening.matrix)], ["features"])


def _constant(weights: list[TensorProto], name: str, values: list[int] | npt.NDArray[np.generic]) -> str:
    array = np.asarray(values, np.int64) if isinstance(values, list) else values
    weights.append(numpy_helper.from_array(array, name))
    return name


def _needed(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """Those of `nodes`, which are in order, that `output` depends on."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(reads(node))
            kept.append(node)
    return kept[::-1]
