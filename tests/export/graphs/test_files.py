"""Graph files: weights that do not fit into one file, and who reads them."""

from __future__ import annotations

import onnx
import pytest

from amcl_serve.errors import BundleError
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Encoder
from export.__main__ import main
from export.graphs import files
from export.graphs.nodes import opset
from tests.export.tiny import make_run, photos


@pytest.mark.slow
def test_large_weights_go_beside_the_graph_and_are_hashed(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    assert main(["--checkpoint", str(run), "--out", str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(files, "_WEIGHTS_INSIDE", 100_000)
    assert main(["--checkpoint", str(run), "--out", str(tmp_path / "split")]) == 0
    whole, split = (Bundle.open(tmp_path / name) for name in ("whole", "split"))
    assert {"encoder.fp32.onnx.data", "encoder.fp16.onnx.data"} <= set(split.card.files)
    assert split.encoder_path("fp32").stat().st_size < 0.5 * whole.encoder_path("fp32").stat().st_size
    graph, weights = (tmp_path / "split" / f"encoder.fp32.onnx{end}" for end in ("", ".data"))
    assert weights.stat().st_mode == graph.stat().st_mode
    assert split.encoder_bytes("fp32") == graph.stat().st_size + weights.stat().st_size
    pixels = photos(4, seed=1)
    for precision in ("fp32", "fp16"):
        found = [Encoder.load(b, precision=precision, session_threads=1).encode(pixels) for b in (whole, split)]
        assert (found[0].features == found[1].features).all()
    damaged = bytearray((tmp_path / "split" / "encoder.fp16.onnx.data").read_bytes())
    damaged[100] ^= 1
    (tmp_path / "split" / "encoder.fp16.onnx.data").write_bytes(damaged)
    with pytest.raises(BundleError, match=r"encoder.fp16.onnx.data is not the file"):
        Bundle.open(tmp_path / "split")


def test_files_that_were_not_asked_for_leave_no_weights_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_WEIGHTS_INSIDE", 100_000)
    run = make_run(tmp_path / "run")
    assert main(["--checkpoint", str(run), "--out", str(tmp_path / "half"), "--precision", "fp16"]) == 0
    names = {path.name for path in (tmp_path / "half").iterdir()}
    assert names == {"encoder.fp16.onnx", "encoder.fp16.onnx.data", "temperature.onnx", "card.json"}


@pytest.mark.parametrize(
    ("opset", "ir", "version"), [(13, 7, "1.15"), (20, 9, "1.17"), (20, 10, "1.18"), (22, 10, "1.21"), (23, 11, "1.23")]
)
def test_the_first_onnxruntime_that_reads_a_graph(opset, ir, version):
    model = onnx.ModelProto(ir_version=ir, opset_import=[onnx.helper.make_opsetid("", opset)])
    assert files.least_onnxruntime([model]) == version


def test_our_own_graphs_have_the_pinned_opset(tmp_path):
    run = make_run(tmp_path / "run")
    assert main(["--checkpoint", str(run), "--out", str(tmp_path / "model")]) == 0
    card = Bundle.open(tmp_path / "model").card
    assert card.opset == files.OPSET
    for name in card.files:
        assert opset(onnx.load(tmp_path / "model" / name)) == files.OPSET
    assert card.onnxruntime == "1.18"
