"""An ONNX file from anywhere: read within bounds, with weights from beside it and from nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.version_converter import convert_version

from export.errors import UsageError
from export.graphs.files import OPSET, forget_sources
from export.graphs.nodes import opset

_LARGEST_FILE = 2**31 - 1  # bytes, of a protobuf message
_LARGEST_WEIGHTS = 2**34  # bytes, beside the file
_LEAST_OPSET = 13  # of per-channel int8


def read(path: Path) -> onnx.ModelProto:
    """The graph in `path` with all its weights; UsageError where that is no sound ONNX file."""
    if not path.is_file():
        raise UsageError(f"--onnx: there is no file {path}")
    if path.stat().st_size > _LARGEST_FILE:
        raise UsageError(f"--onnx {path}: no ONNX file is larger than 2 GiB; weights beyond that are beside it")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception:  # of protobuf's implementation, whichever that is
        raise UsageError(f"--onnx {path}: it is no ONNX file, or is damaged") from None
    if not model.graph.node or not opset(model):
        raise UsageError(f"--onnx {path}: it is no ONNX file: there is no graph in it")
    beside = _load_weights(model, path)
    try:
        onnx.checker.check_model(path if beside else model)  # with its weights it may be beyond protobuf's 2 GiB
    except Exception as error:
        raise UsageError(f"--onnx {path}: {_first_line(error)}") from None
    forget_sources(model)
    model.ClearField("training_info")
    return model


def modernised(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """`model` in the opset that all bundles are written in, if it is older and can be converted."""
    if opset(model) >= OPSET:
        return None
    try:
        converted = convert_version(model, OPSET)
        onnx.checker.check_model(converted)
    except Exception:  # the converter knows not all operators, and says so in many ways
        return None
    return converted


def refuse_old(model: onnx.ModelProto, path: Path) -> None:
    """UsageError for an opset that int8 cannot be had from."""
    if opset(model) < _LEAST_OPSET:
        raise UsageError(
            f"--onnx {path}: it is written in opset {opset(model)}, which could not be converted to {OPSET}; export "
            f"the network anew with opset {_LEAST_OPSET} or later"
        )


def _load_weights(model: onnx.ModelProto, path: Path) -> bool:
    """Load the weights that stand beside the file; whether there are any."""
    outside = [tensor for tensor in tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    total = 0
    for tensor in outside:
        about = {entry.key: entry.value for entry in tensor.external_data}
        name = about.get("location", "")
        beside = path.parent / name
        if not name or Path(name).name != name:
            raise UsageError(f"--onnx {path}: weights have to be in a file beside it, not in {name!r}")
        if beside.is_symlink() or not beside.is_file():
            raise UsageError(f"--onnx {path}: its weights are in {name!r}, which is no file beside it")
        total += _length(about.get("length"), beside.stat().st_size)
    if total > _LARGEST_WEIGHTS:
        raise UsageError(f"--onnx {path}: its weights are larger than {_LARGEST_WEIGHTS >> 30} GiB")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise UsageError(f"--onnx {path}: its weights cannot be read: {_first_line(error)}") from None
    return bool(outside)


def _length(text: str | None, size: int) -> int:
    return min(int(text), size) if text is not None and text.isascii() and text.isdigit() else size


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor, of inner graphs and of functions too."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: list[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _of_graph(graph)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
