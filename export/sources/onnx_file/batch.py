"""A graph from elsewhere that takes a fixed number of images, for any number of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Set

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.graphs.nodes import reads

Constants = Mapping[str, npt.NDArray[np.generic]]


def freed(model: onnx.ModelProto, name: str, batch: int) -> onnx.ModelProto:
    """`model` for any number of images at its input `name`, as far as it is `batch` only by its constants.

    Those are shapes that a Reshape or an Expand is told, and rows beside which the images' are put, such as a class
    token, if they are the same for each image. Nothing is checked by running.
    """
    free = copy.deepcopy(model)
    graph = free.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    of_images = _dependent(graph, name)
    change = _Change(of_images, batch, _constants(free, of_images))
    for node in model.graph.node:
        change.take(node)
    del graph.node[:]
    if change.counts:
        first = change.constant(0, [0])
        graph.node.append(helper.make_node("Shape", [name], ["free/shape"], name="free/shape"))
        graph.node.append(helper.make_node("Gather", ["free/shape", first], ["free/N"], axis=0, name="free/N"))
    graph.node.extend(change.nodes)
    graph.initializer.extend(change.weights)
    return free


def _dependent(graph: onnx.GraphProto, name: str) -> set[str]:
    """The tensors that depend on the images, the input `name`."""
    found = {name}
    for node in graph.node:
        if not found.isdisjoint(reads(node)):
            found.update(node.output)
    return found


def _constants(model: onnx.ModelProto, of_images: Set[str]) -> Constants:
    """The tensors that depend on no image and are asked about below: weights, and what is computed from constants."""
    graph = model.graph
    found: dict[str, npt.NDArray[np.generic]] = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    asked = {name for node in graph.node if node.op_type in ("Reshape", "Expand", "Concat") for name in node.input}
    fixed = [node for node in graph.node if of_images.isdisjoint(node.output)]
    wanted = sorted(asked.intersection(name for node in fixed for name in node.output))
    used = {name for node in fixed for name in reads(node)}
    weights = [weight for weight in graph.initializer if weight.name in used]
    outputs = [helper.make_empty_tensor_value_info(name) for name in wanted]
    part = helper.make_model(
        helper.make_graph(fixed, "fixed", [], outputs, weights), opset_imports=model.opset_import, ir_version=10
    )
    try:
        values = ReferenceEvaluator(part).run(None, {})
    except Exception:  # of operators that it does not know, in many ways
        return found
    return found | dict(zip(wanted, values, strict=True))


class _Change:
    """The nodes taken so far, as they are for N images rather than `batch`."""

    def __init__(self, of_images: Set[str], batch: int, constants: Constants) -> None:
        self.of_images, self.batch, self.constants = of_images, batch, constants
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.counts = False  # whether N is asked for

    def take(self, given: onnx.NodeProto) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(given)
        inputs, constants = list(node.input), self.constants
        of_images = not self.of_images.isdisjoint(inputs)
        if node.op_type == "Reshape" and of_images and self._is_shape(inputs[1]):
            node.input[1] = self._shape(constants[inputs[1]], free=-1)
        elif node.op_type == "Expand" and self._is_shape(inputs[1]) and constants[inputs[1]][0] == self.batch:
            node.input[1] = self._shape(constants[inputs[1]])
        elif node.op_type == "Concat" and of_images:
            for place, name in enumerate(inputs):
                if name in constants and self._alike(constants[name]):
                    node.input[place] = self._rows(constants[name])
        self.nodes.append(node)

    def constant(self, number: int, values: npt.ArrayLike) -> str:
        """The name of a new constant of int64, the `number`th of a node."""
        name = f"free/{len(self.nodes)}/{number}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def _is_shape(self, name: str) -> bool:
        return name in self.constants and self.constants[name].ndim == 1 and self.constants[name].size > 0

    def _alike(self, rows: npt.NDArray[np.generic]) -> bool:
        return rows.ndim > 1 and len(rows) == self.batch and bool((rows == rows[:1]).all())

    def _rows(self, rows: npt.NDArray[np.generic]) -> str:
        """The first of `rows` for each of N images."""
        name = f"free/{len(self.nodes)}/rows"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(rows[:1]), f"{name}/first"))
        shape = self._shape(np.array(rows.shape))
        self.nodes.append(helper.make_node("Expand", [f"{name}/first", shape], [name], name=name))
        return name

    def _shape(self, shape: npt.NDArray[np.generic], free: int | None = None) -> str:
        """The name of `shape` with N for its `batch`; `free` is what may stand for it, if it stands nowhere else."""
        first = int(shape[0])
        if first <= 0 or first % self.batch:
            return self.constant(1, shape)
        if free is not None and free not in shape:
            return self.constant(1, [free, *shape[1:]])
        self.counts = True
        name = f"free/{len(self.nodes)}/shape"
        images = "free/N"
        if first != self.batch:
            images = f"{name}/first"
            times = self.constant(2, [first // self.batch])
            self.nodes.append(helper.make_node("Mul", ["free/N", times], [images], name=images))
        rest = self.constant(3, shape[1:])
        self.nodes.append(helper.make_node("Concat", [images, rest], [name], axis=0, name=name))
        return name
