"""ONNX files that compute in float16, and those that cannot."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from amcl_serve.model.bundle import Bundle
from tests.export.sources import graphs
from tests.export.sources.running import COLOURS, MEAN, STD, expected, export, served
from tests.export.tiny import make_photo_folder, photos


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("flat", ["flatten", "tokens"])
def test_a_file_of_float16_is_served_from_float32(tmp_path, layout, flat):
    path = graphs.write(tmp_path, layout=layout, flat=flat, kind=TensorProto.FLOAT16)
    images = make_photo_folder(tmp_path / "photos", 70, seed=4)
    options = [*COLOURS, "--images", images, "--whiten", "none"] + (["--pool", "mean"] if flat == "tokens" else [])
    assert export("--onnx", path, "--out", tmp_path / "model", *options) == 0
    bundle = Bundle.open(tmp_path / "model")
    assert bundle.precisions == ("fp32", "fp16", "int8")
    kinds = {weight.data_type for weight in onnx.load(bundle.encoder_path("fp32")).graph.initializer}
    assert TensorProto.FLOAT16 not in kinds
    pixels = photos(5, seed=1)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float16)
    x = x.transpose(0, 3, 1, 2) if layout == "NCHW" else x
    features = session.run(None, {"image": x})[0].astype(np.float32)
    features = features.mean(1) if flat == "tokens" else features
    found = served(tmp_path / "model", pixels).features
    assert np.abs(found - features).max() <= 2e-3 * np.abs(features).max()


@pytest.mark.parametrize("times", [1.0, 1e4])  # the weights fit, the sums over them do not
def test_a_network_beyond_float16_is_only_stored_in_it(tmp_path, capsys, times):
    model = graphs.encoder()
    kernel, bias = (numpy_helper.to_array(weight) * np.float32(times) for weight in model.graph.initializer)
    del model.graph.initializer[:]
    for name, values in (("kernel", kernel), ("bias", bias), ("down", np.float32(1 / times))):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.graph.node.append(helper.make_node("Mul", ["features", "down"], ["scaled"]))
    model.graph.output[0].name = "scaled"
    onnx.save(model, tmp_path / "wide.onnx")
    options = (*COLOURS, "--precision", "fp16")
    assert export("--onnx", tmp_path / "wide.onnx", "--out", tmp_path / "model", *options) == 0
    said = capsys.readouterr().out
    written = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "model" / "encoder.fp16.onnx")).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in written.value_info}
    (conv,) = (node for node in written.node if node.op_type == "Conv")
    assert kinds[conv.output[0]] == (TensorProto.FLOAT16 if times == 1 else TensorProto.FLOAT)
    assert ("rounded as a device does" if times == 1 else "weights alone are float16; computed in it, fp16") in said
    pixels = photos(3, seed=3)
    features = expected(tmp_path / "wide.onnx", pixels, output="scaled")
    found = served(tmp_path / "model", pixels, "fp16").features
    assert np.abs(found - features).max() <= 2e-3 * np.abs(features).max()
