"""An encoder in float16: the graph of operators that compute in it, and weights that are stored in it.

onnxruntime has a converter too (`onnxruntime.transformers.float16`), which passes what stays in float32 through float16
between two nodes, the outputs among it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graphs.files import save
from export.graphs.nodes import opset, reads, replace, whitening

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# What goes on in the float16 of a product before it: what rounds no more than the product did, or moves numbers.
_CARRIERS = frozenset(
    {"Add", "AveragePool", "Clip", "Concat", "Elu", "Erf", "Expand", "Flatten", "Gather", "Gelu", "HardSigmoid"}
    | {"HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mul", "PRelu", "Pad", "Relu", "Reshape", "Sigmoid", "Slice"}
    | {"Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"}
)
_MIN_WEIGHTS = 4096  # smaller tensors (biases, scales) stay float32: nothing to gain, and scales must be exact
_HALF = "/float16"  # behind the name of a number in float16
_MAX = float(np.finfo(np.float16).max)


def to_fp16(source: Path, target: Path, *, computed: bool = True) -> None:
    """The float32 graph in `source` with weights of float16 and, where `computed`, operators of it."""
    model = onnx.load(source)
    if computed:
        compute_in_float16(model)
    store_in_float16(model)
    save(model, target)


def to_rounded(source: Path, target: Path) -> None:
    """What `to_fp16` writes as a device computes it, for a CPU: in float32, each result rounded to float16."""
    model = onnx.load(source)
    compute_in_float16(model)
    round_as_float16(model)
    save(model, target)


def compute_in_float16(model: onnx.ModelProto) -> None:
    """Make the convolutions and matrix products of a float32 graph operators of float16.

    So becomes what carries their results on: sums, activations, reshapes. Normalisation of pixels, layer norms,
    softmax, means, norms, the whitening and the outputs stay float32; casts stand between the two.
    """
    half, weights = _halves(model), {weight.name: weight for weight in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    narrow: dict[str, str] = {}  # float32 name -> float16 name
    made: set[str] = set()  # names that half's operators made: float16 alone, until one needs float32
    nodes: list[onnx.NodeProto] = []

    def in_float16(name: str) -> str:
        if name not in narrow:
            narrow[name] = name + _HALF
            if name in weights:
                weights[narrow[name]] = _narrowed(weights[name], narrow[name])
            else:
                nodes.append(helper.make_node("Cast", [name], [narrow[name]], to=TensorProto.FLOAT16))
        return narrow[name]

    def in_float32(name: str) -> None:
        if name in made:
            made.remove(name)
            nodes.append(helper.make_node("Cast", [narrow[name]], [name], to=TensorProto.FLOAT))

    for index, node in enumerate(model.graph.node):
        if index not in half:
            for name in reads(node):
                in_float32(name)
            nodes.append(node)
            continue
        inputs, results = _float_places(node, opset(model))
        for place in inputs:
            node.input[place] = in_float16(node.input[place])
        nodes.append(node)
        for place in results:
            name = node.output[place]
            narrow[name] = name + _HALF
            node.output[place] = narrow[name]
            made.add(name)
            if name in outputs:
                in_float32(name)
    for place, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{place}"
    used = {name for node in nodes for name in reads(node)}
    replace(model, nodes, [weight for name, weight in weights.items() if name in used])
    del model.graph.value_info[:]  # of types that are gone


def round_as_float16(model: onnx.ModelProto) -> None:
    """Have what `compute_in_float16` left compute in float32 and round each result to float16, as a device would.

    On a CPU onnxruntime has no such operators and computes in float32 by itself, but rounds next to nothing and never
    overflows.
    """
    wide: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        places = [place for place, name in enumerate(node.output) if name.endswith(_HALF)]
        if node.op_type == "Cast" or not places:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if name.endswith(_HALF):
                node.input[place] = f"{name}/wide"
                if name not in wide:
                    wide.add(name)
                    nodes.append(helper.make_node("Cast", [name], [f"{name}/wide"], to=TensorProto.FLOAT))
        nodes.append(node)
        for place in places:
            name = node.output[place]
            node.output[place] = f"{name}/exact"
            nodes.append(helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Max", [f"{name}/rounded"], [name]))  # else the casts are taken for idle
    replace(model, nodes, list(model.graph.initializer))


def store_in_float16(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, each cast back where it is used: half the file, the same arithmetic.

    The casts have constant inputs, so onnxruntime does them once, when it loads the graph.
    """
    casts, weights = [], []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _MIN_WEIGHTS:
            weights.append(weight)
            continue
        half = weight.name + ".fp16"
        weights.append(_narrowed(weight, half))
        casts.append(helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT))
    replace(model, [*casts, *model.graph.node], weights)


def _halves(model: onnx.ModelProto) -> set[int]:
    """Places of the nodes that compute in float16: products, and carriers of what these made."""
    kept = {node.output[0] for node in whitening(model)}
    half: set[int] = set()
    made: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx") or kept.intersection(node.output):
            continue
        if node.op_type in _PRODUCTS or (node.op_type in _CARRIERS and not made.isdisjoint(node.input)):
            half.add(index)
            made.update(node.output)
    return half


def _float_places(node: onnx.NodeProto, version: int) -> tuple[list[int], list[int]]:
    """Which inputs and outputs are the numbers that `node` computes with, and not shapes, indices or axes."""
    schema = onnx.defs.get_schema(node.op_type, version)
    kind = schema.inputs[0].type_str

    def places(names: Sequence[str], formal: Sequence[Any]) -> list[int]:
        return [i for i, name in enumerate(names) if name and formal[min(i, len(formal) - 1)].type_str == kind]

    return places(node.input, schema.inputs), places(node.output, schema.outputs)


def _narrowed(weight: TensorProto, name: str) -> TensorProto:
    values = np.clip(numpy_helper.to_array(weight), -_MAX, _MAX).astype(np.float16)  # the parity check judges
    return numpy_helper.from_array(values, name)
