"""ONNX files for a fixed number of images: freed of it where constants alone say it, else refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.export.sources import graphs
from tests.export.sources.graphs import DIM, SIZE
from tests.export.sources.running import COLOURS, MEAN, STD, agree, expected, export, served
from tests.export.tiny import photos


@pytest.mark.parametrize("flat", [[1, -1], [1, DIM], [-1, DIM]])
def test_a_fixed_batch_is_freed_of_the_shapes_that_say_it(tmp_path, flat):
    path = graphs.write(tmp_path, batch=1, flat=flat)
    assert export("--onnx", path, "--out", tmp_path / "model", *COLOURS, "--precision", "fp32") == 0
    pixels = photos(5, seed=2)
    agree(served(tmp_path / "model", pixels).features, expected(path, pixels))


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_is_freed_of_rows_beside_the_images(tmp_path, batch, computed):
    """A class token for each image, and a shape that holds a multiple of the batch, as exporters fold them."""
    model = graphs.encoder(batch=batch, flat="tokens")
    places = (SIZE // 4) ** 2
    row = np.random.default_rng(3).normal(size=(1, 1, DIM)).astype(np.float32)
    for name, value in {
        "token" if computed else "class": row if computed else np.repeat(row, batch, axis=0),
        "times": np.array([batch], np.int64),
        "rest": np.array([1, DIM], np.int64),
        "windows": np.array([batch * 13, -1, DIM], np.int64),
        "back": np.array([batch, -1, DIM], np.int64),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    assert (places + 1) % 13 == 0
    if computed:
        model.graph.node.append(helper.make_node("Concat", ["times", "rest"], ["rows"], axis=0))
        model.graph.node.append(helper.make_node("Expand", ["token", "rows"], ["class"]))
    model.graph.node.extend(
        [
            helper.make_node("Concat", ["class", "tokens"], ["all"], axis=1),
            helper.make_node("Reshape", ["all", "windows"], ["parts"]),
            helper.make_node("Relu", ["parts"], ["positive"]),
            helper.make_node("Reshape", ["positive", "back"], ["joined"]),
        ]
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("joined", TensorProto.FLOAT, [batch, places + 1, DIM]))
    onnx.save(model, tmp_path / "fixed.onnx")
    options = (*COLOURS, "--precision", "fp32", "--pool", "cls")
    assert export("--onnx", tmp_path / "fixed.onnx", "--out", tmp_path / "model", *options) == 0
    pixels = photos(5, seed=2)
    np.testing.assert_allclose(served(tmp_path / "model", pixels).features, np.repeat(row[0].clip(0), 5, 0), atol=1e-6)
    options = (*COLOURS, "--precision", "fp32", "--pool", "mean")
    assert export("--onnx", tmp_path / "fixed.onnx", "--out", tmp_path / "mean", *options) == 0
    session = ort.InferenceSession(tmp_path / "fixed.onnx", providers=["CPUExecutionProvider"])
    x = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32).transpose(0, 3, 1, 2)
    expected = [session.run(None, {"image": np.repeat(image[None], batch, 0)})[0][0].mean(0) for image in x]
    agree(served(tmp_path / "mean", pixels).features, np.stack(expected))


def test_a_batch_that_cannot_be_freed_is_refused(tmp_path, capsys):
    model = graphs.encoder(batch=2)
    token = graphs.weight("token", 2, DIM)
    model.graph.initializer.append(token)
    model.graph.node.append(helper.make_node("Concat", ["features", "token"], ["both"], axis=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("both", TensorProto.FLOAT, [2, 2 * DIM]))
    onnx.save(model, tmp_path / "two.onnx")
    assert export("--onnx", tmp_path / "two.onnx", "--out", tmp_path / "model", *COLOURS) == 2
    assert "takes 2 images at a time" in capsys.readouterr().err
