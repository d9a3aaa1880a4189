"""Graph files: the opset they are written in, which onnxruntime reads them, and weights beyond one file's 2 GiB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import TensorProto

from export.graphs.nodes import opset

OPSET = 20  # of all that is exported here: the first with Gelu, which ViTs need; a graph from elsewhere may be newer

# (opset, IR version) -> the first onnxruntime that loads such a file: tried with each release from 1.15 to 1.24.
_READERS = {(19, 9): "1.15", (20, 9): "1.17", (21, 10): "1.18", (22, 10): "1.21", (23, 11): "1.23", (25, 13): "1.24"}
_WEIGHTS_INSIDE = 2**31 - 2**26  # bytes; a protobuf file ends at 2 GiB


def least_onnxruntime(models: Sequence[onnx.ModelProto]) -> str:
    """The first onnxruntime that reads all `models`; this one for what is newer than the table."""
    for (newest, newest_ir), version in _READERS.items():
        if all(opset(model) <= newest and model.ir_version <= newest_ir for model in models):
            return version
    return str(ort.__version__)


def weights_file(path: Path) -> Path:
    """Where the weights of the graph in `path` are when they do not fit beside it in one file."""
    return path.with_name(path.name + ".data")


def save(model: onnx.ModelProto, path: Path) -> None:
    """Check `model` and write it to `path`; weights of about 2 GiB and more go to `weights_file(path)`.

    `model` keeps its weights. What stood there before is gone.
    """
    weights_file(path).unlink(missing_ok=True)
    if sum(_bytes(weight) for weight in _weights(model)) < _WEIGHTS_INSIDE:
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return
    onnx.save(model, path, save_as_external_data=True, location=weights_file(path).name, convert_attribute=True)
    weights_file(path).chmod(path.stat().st_mode)  # onnx writes it for its owner alone
    onnx.checker.check_model(path)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))


def forget_sources(model: onnx.ModelProto) -> None:
    """Drop what an exporter says of the code and the folders the graph came from."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def remove(path: Path) -> None:
    """Remove the graph in `path`, with its weights."""
    weights_file(path).unlink(missing_ok=True)
    path.unlink()


def _weights(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _bytes(weight: TensorProto) -> int:
    return len(weight.raw_data) if weight.HasField("raw_data") else weight.ByteSize()
