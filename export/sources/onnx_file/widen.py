"""A graph from elsewhere that computes in float16, in float32: the same weights, as float32 has all of their values."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from export.errors import UsageError
from export.sources.onnx_file.reading import tensors


def widened(model: onnx.ModelProto, path: Path) -> onnx.ModelProto | None:
    """`model`, of the file `path`, with float32 for float16 throughout; None where there is no float16 in it."""
    ends = (*model.graph.input, *model.graph.output)
    halves = [value.type.tensor_type for value in ends if value.type.tensor_type.elem_type == TensorProto.FLOAT16]
    if not halves and all(tensor.data_type != TensorProto.FLOAT16 for tensor in tensors(model)):
        return None
    wide = copy.deepcopy(model)
    for tensor in tensors(wide):
        if tensor.data_type == TensorProto.FLOAT16:
            try:
                values = numpy_helper.to_array(tensor).astype(np.float32)
            except ValueError:
                raise UsageError(f"--onnx {path}: the weights {tensor.name} are damaged") from None
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for graph in _graphs(wide):
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        del graph.value_info[:]
    for node in (*_nodes(wide.graph.node), *(node for f in wide.functions for node in _nodes(f.node))):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    return wide


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    for node in _nodes(model.graph.node):
        yield from _inner(node)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Every node, of inner graphs too."""
    for node in nodes:
        yield node
        for graph in _inner(node):
            yield from _nodes(graph.node)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g
