"""Small ONNX encoders as others export them: a convolution, a mean over the image, and what the test asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, DIM = 32, 12
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def weight(name, *shape, kind=FLOAT, seed=0):
    values = np.random.default_rng(seed + sum(name.encode())).normal(size=shape)
    return numpy_helper.from_array(values.astype(np.float16 if kind == HALF else np.float32), name)


def encoder(*, layout="NCHW", batch="N", size=SIZE, opset=18, kind=FLOAT, flat="flatten", colours=3, extra=()):
    """A model: image -> features [batch, DIM].

    `flat`: how the mean of the image becomes a vector: by Flatten, by a Reshape to a constant `shape`, or not at all
    ("map", the features before the mean; "tokens" [batch, places, DIM]). `extra` are outputs beside it.
    """
    shape = [batch, colours, size, size] if layout == "NCHW" else [batch, size, size, colours]
    nodes, weights = [], [weight("kernel", DIM, colours, 4, 4, kind=kind), weight("bias", DIM, kind=kind)]
    image = "image"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["image"], ["channels"], perm=[0, 3, 1, 2]))
        image = "channels"
    nodes.append(helper.make_node("Conv", [image, "kernel", "bias"], ["places"], strides=[4, 4]))
    nodes.append(helper.make_node("Relu", ["places"], ["map"]))
    shapes = {"map": [batch, DIM, None, None], "tokens": [batch, None, DIM], "features": [batch, DIM]}
    shapes |= {"logits": [batch, 5], "mean": [batch, DIM, 1, 1]}
    nodes.append(helper.make_node("GlobalAveragePool", ["map"], ["mean"]))
    if flat == "flatten":
        nodes.append(helper.make_node("Flatten", ["mean"], ["features"], axis=1))
    elif isinstance(flat, list):
        weights.append(numpy_helper.from_array(np.array(flat, np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", ["mean", "shape"], ["features"]))
    elif flat == "tokens":
        weights.append(numpy_helper.from_array(np.array([0, DIM, -1], np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", ["map", "shape"], ["columns"]))
        nodes.append(helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]))
    if "logits" in extra:
        weights.append(weight("classes", DIM, 5, kind=kind))
        nodes.append(helper.make_node("MatMul", ["features", "classes"], ["logits"]))
    outputs = [flat if isinstance(flat, str) and flat in shapes else "features", *extra]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(name, kind, shapes[name]) for name in dict.fromkeys(outputs)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def write(folder: Path, **options) -> Path:
    """The file of `encoder(**options)` in `folder`."""
    path = folder / "encoder.onnx"
    onnx.save(encoder(**options), path)
    return path
