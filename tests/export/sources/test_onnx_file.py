"""ONNX files from elsewhere: whatever their layout and batch, the bundle equals them; what is no encoder is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from amcl_serve.model.bundle import Bundle, InputSpec
from amcl_serve.model.encoder import Encoder
from export.graphs.files import OPSET
from export.graphs.nodes import opset
from tests.export.sources import graphs
from tests.export.sources.graphs import DIM, SIZE
from tests.export.sources.running import COLOURS, agree, expected, export, served
from tests.export.tiny import make_photo_folder, photos


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_bundle_equals_its_file(tmp_path, layout, batch):
    path = graphs.write(tmp_path, layout=layout, batch=batch)
    assert export("--onnx", path, "--out", tmp_path / "model", *COLOURS, "--crop", "0.9") == 0
    card = Bundle.open(tmp_path / "model").card
    assert card.input == InputSpec(size=SIZE, interpolation="bicubic", crop=0.9)
    assert (card.feature_dim, card.num_heads, card.temperature, card.whitening) == (DIM, 0, None, None)
    assert sorted(card.files) == ["encoder.fp16.onnx", "encoder.fp32.onnx"]
    assert card.config["onnx"] == "encoder.onnx"
    pixels = photos(5, seed=1)
    found = served(tmp_path / "model", pixels)
    assert found.heads.shape == (5, 0, 0)
    agree(found.features, expected(path, pixels, layout=layout))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_shape_that_leaves_all_open_is_tried(tmp_path, layout):
    model = graphs.encoder(layout=layout)
    for axis, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        dim.dim_param = f"axis{axis}"
    onnx.save(model, tmp_path / "open.onnx")
    options = (*COLOURS, "--image-size", SIZE, "--precision", "fp32", "--out", tmp_path / "model")
    assert export("--onnx", tmp_path / "open.onnx", *options) == 0
    pixels = photos(3, seed=2)
    agree(served(tmp_path / "model", pixels).features, expected(tmp_path / "open.onnx", pixels, layout=layout))


@pytest.mark.parametrize("version", [11, 13, OPSET, 21])
def test_old_opsets_are_converted_and_the_card_says_who_reads_the_files(tmp_path, version):
    path = graphs.write(tmp_path, opset=version)
    assert export("--onnx", path, "--out", tmp_path / "model", *COLOURS, "--precision", "fp32") == 0
    card = Bundle.open(tmp_path / "model").card
    assert opset(onnx.load(tmp_path / "model" / "encoder.fp32.onnx")) == card.opset == max(version, OPSET)
    assert card.onnxruntime == ("1.18" if version == 21 else "1.17")
    pixels = photos(3, seed=3)
    agree(served(tmp_path / "model", pixels).features, expected(path, pixels))


@pytest.mark.parametrize(
    ("flat", "pool", "reduce"),
    [
        ("tokens", "cls", lambda y: y[:, 0]),
        ("tokens", "mean", lambda y: y.mean(1)),
        ("map", "mean", lambda y: y.mean((2, 3))),
        ("mean", None, lambda y: y[:, :, 0, 0]),
    ],
)
@pytest.mark.parametrize("size", [SIZE, None])
def test_tokens_and_maps_become_vectors(tmp_path, flat, pool, reduce, size):
    path = graphs.write(tmp_path, flat=flat, size=size)
    options = [*COLOURS, "--precision", "fp32"] + (["--pool", pool] if pool else [])
    options += ["--image-size", str(SIZE)] if size is None else []
    assert export("--onnx", path, "--out", tmp_path / "model", *options) == 0
    pixels = photos(4, seed=5)
    agree(served(tmp_path / "model", pixels).features, reduce(expected(path, pixels, output=flat)))


def test_a_classifier_is_cut_off_before_its_classes(tmp_path):
    path = graphs.write(tmp_path, extra=("logits",), flat="flatten")
    both = onnx.load(path)
    del both.graph.output[0]
    onnx.save(both, path)
    options = (*COLOURS, "--output", "features", "--precision", "fp32")
    assert export("--onnx", path, "--out", tmp_path / "model", *options) == 0
    names = {weight.name for weight in onnx.load(tmp_path / "model" / "encoder.fp32.onnx").graph.initializer}
    assert "source/kernel" in names
    assert "source/classes" not in names
    onnx.save(graphs.encoder(), path)
    pixels = photos(4, seed=6)
    agree(served(tmp_path / "model", pixels).features, expected(path, pixels))


def test_weights_beside_the_file_are_read(tmp_path):
    onnx.save(graphs.encoder(), tmp_path / "e.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").stat().st_size
    assert export("--onnx", tmp_path / "e.onnx", "--out", tmp_path / "model", *COLOURS, "--precision", "fp32") == 0
    pixels = photos(2, seed=7)
    agree(served(tmp_path / "model", pixels).features, expected(tmp_path / "e.onnx", pixels))


def test_weights_from_elsewhere_are_not(tmp_path, capsys):
    (tmp_path / "secret").write_bytes(b"x" * 10_000)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "secret")
    for location, message in (
        ("../secret", "in a file beside it, not in '../secret'"),
        (str(tmp_path / "secret"), "in a file beside it"),
        ("link", "is no file beside it"),
        ("nowhere", "is no file beside it"),
        ("", "in a file beside it"),
    ):
        model = graphs.encoder()
        kernel = model.graph.initializer[0]
        kernel.ClearField("raw_data")
        kernel.data_location = TensorProto.EXTERNAL
        kernel.external_data.add(key="location", value=location)
        (tmp_path / "here" / "e.onnx").write_bytes(model.SerializeToString())
        assert export("--onnx", tmp_path / "here" / "e.onnx", "--out", tmp_path / "model") == 2
        assert message in capsys.readouterr().err


def test_with_images_there_is_int8_a_calibration_and_knn(tmp_path):
    path = graphs.write(tmp_path)
    held_out = make_photo_folder(tmp_path / "held-out", 96, seed=1)
    bank = make_photo_folder(tmp_path / "bank", 64, seed=2)
    options = (*COLOURS, "--images", held_out, "--train-images", bank, "--whiten", "half", "--precision", "fp32,int8")
    assert export("--onnx", path, "--out", tmp_path / "model", *options) == 0
    bundle = Bundle.open(tmp_path / "model")
    card = bundle.card
    assert bundle.precisions == ("fp32", "int8")
    assert card.whitening.kind == "half"
    assert card.feature_calibration is None
    assert card.calibration.auroc == card.metrics["pair_auroc"].value == card.metrics["pair_auroc_features"].value
    assert {"knn_fp32", "knn_int8", "knn_unwhitened"} <= set(card.metrics)
    assert not {"knn_untrained", "pair_aurc_temperature", "pair_auroc_mean"} & set(card.metrics)
    assert card.parity["int8"].heads_mean_cosine is None
    Encoder.load(bundle, session_threads=1).verify_probe()
    weights = onnx.load(bundle.encoder_path("int8")).graph.initializer
    assert [list(w.dims) for w in weights if w.data_type == TensorProto.INT8 and len(w.dims) > 1] == [[DIM, 3, 4, 4]]


def test_what_is_no_encoder_is_one_line_and_status_2(tmp_path, capsys):
    good = graphs.write(tmp_path)
    (tmp_path / "words.onnx").write_text("this is no graph")
    (tmp_path / "cut.onnx").write_bytes(good.read_bytes()[:-200])
    (tmp_path / "empty.onnx").write_bytes(b"")
    models = {
        "grey": graphs.encoder(colours=1),
        "wide": graphs.encoder(),
        "bytes": graphs.encoder(),
        "brain": graphs.encoder(),
        "two": graphs.encoder(),
        "both": graphs.encoder(extra=("logits",)),
        "tokens": graphs.encoder(flat="tokens"),
        "foreign": graphs.encoder(),
        "untied": graphs.encoder(),
    }
    models["wide"].graph.input[0].type.tensor_type.shape.dim[3].dim_value = 2 * SIZE
    models["bytes"].graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    models["brain"].graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    models["two"].graph.input.append(helper.make_tensor_value_info("text", TensorProto.INT64, ["N", 7]))
    models["foreign"].graph.node[1].domain = "com.example"
    models["foreign"].opset_import.append(helper.make_opsetid("com.example", 1))
    models["untied"].graph.node[1].input[0] = "nothing"
    for name, model in models.items():
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    for name, arguments, message in (
        ("nowhere", (), "there is no file"),
        ("words", (), "no ONNX file"),
        ("cut", (), "damaged"),
        ("empty", (), "no ONNX file"),
        ("grey", (), "three colours"),
        ("wide", (), "three colours of a square image"),
        ("bytes", (), "is uint8; it has to be float"),
        ("brain", (), "is bfloat16; it has to be float, of 32 or 16 bits"),
        ("two", (), "one input; this has image, text"),
        ("both", (), "features could be features, logits; name one with --output"),
        ("tokens", (), "--pool cls takes the first token"),
        ("foreign", (), "onnxruntime cannot load it"),
        ("untied", (), "nothing"),
        ("encoder", ("--pool", "cls"), "--pool needs tokens"),
        ("encoder", ("--output", "nonsense"), "no such tensor"),
        ("encoder", ("--image-size", "64"), "takes images of 32 pixels"),
        ("encoder", ("--image-size", "4"), "8 to 1024"),
        ("encoder", ("--mean", "0.5,0.5"), "--mean '0.5,0.5': give three numbers"),
        ("encoder", ("--mean", "124,116,104"), "divide those of 0 to 255"),
        ("encoder", ("--std", "0.5,0,0.5"), "deviations are above 0"),
        ("encoder", ("--std", "a,b,c"), "give three numbers"),
        ("encoder", ("--crop", "1.5"), "above 0, at most 1"),
        ("encoder", ("--crop", "nan"), "above 0, at most 1"),
        ("encoder", ("--weights", good), "--weights belongs to --torch, not to --onnx"),
        ("encoder", ("--precision", "int8"), "int8 needs --images"),
    ):
        path = tmp_path / f"{name}.onnx"
        assert export("--onnx", path, "--out", tmp_path / "model", *arguments) == 2, (name, arguments)
        error = capsys.readouterr().err
        assert message in error, (name, error)
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "model").exists()


def test_a_damaged_file_never_ends_in_a_traceback(tmp_path, capsys):
    good = graphs.encoder().SerializeToString()
    rng = np.random.default_rng(0)
    for trial in range(40):
        data = bytearray(good)
        for at in rng.integers(0, 400 if trial % 2 else len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        (tmp_path / "damaged.onnx").write_bytes(data)
        assert export("--onnx", tmp_path / "damaged.onnx", "--out", tmp_path / "model", "--precision", "fp32") in (
            0,
            1,
            2,
        )
        capsys.readouterr()
