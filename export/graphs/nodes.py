"""What graphs are made of: their operators' version, what a node reads, and the nodes that have a part of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
from onnx import TensorProto


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that `model` is written in; 0 where it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What `node` reads, in inner graphs too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from reads(inner)


def whitening(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The layer behind the backbone's features, if there is one: its small directions need all of their digits."""
    producers = {name: node for node in model.graph.node for name in node.output}
    last = producers["features"]
    before = producers.get(last.input[0])
    if last.op_type == "MatMul" and before is not None and before.op_type == "Sub":  # of the mean
        yield last
        yield before


def replace(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], weights: Sequence[TensorProto]) -> None:
    """Give `model` other nodes and other weights, which may be some of its own."""
    for field, items in (("initializer", weights), ("node", nodes)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(items)
