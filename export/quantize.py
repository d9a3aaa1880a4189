"""Smaller encoders from the float32 one: fp16 weights, and static int8."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graphs import save, weights_file
from export.networks import BATCH, Pixels

_MIN_WEIGHTS = 4096  # smaller tensors (biases, scales) stay float32: nothing to gain, and scales must be exact


def to_fp16(source: Path, target: Path) -> None:
    """Rewrite the graph with its large float32 weights stored as float16, each cast back where it is used.

    Half the file. The casts have constant inputs, so onnxruntime does them once, when it loads the graph; the
    arithmetic is the float32 graph's, and so is its speed.
    """
    model = onnx.load(source)
    casts, weights = [], []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _MIN_WEIGHTS:
            weights.append(weight)
            continue
        half = weight.name + ".fp16"
        values = np.clip(numpy_helper.to_array(weight), -65504, 65504).astype(np.float16)  # the parity check judges
        weights.append(numpy_helper.from_array(values, half))
        casts.append(helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    for field, items in (("initializer", weights), ("node", nodes)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(items)
    save(model, target)


def to_int8(source: Path, target: Path, pixels: Pixels, quality: Callable[[Path], float]) -> str:
    """Quantise the float32 graph in `source` on activation ranges from `pixels` uint8 [N, S, S, 3]; returns the method.

    Activations are uint8, weights int8 per channel in 7 bits: with all 8, processors without VNNI instructions overflow
    their 16-bit sums and embed differently, and the eighth bit bought nothing measurable. Clipping a few extreme
    activations helps some networks and harms others, so each method is tried and the one of highest `quality` (of the
    file, higher is better) is kept.
    """
    from onnxruntime.quantization import CalibrationMethod

    methods: dict[str, dict[str, Any]] = {
        "min-max": {"calibrate_method": CalibrationMethod.MinMax},
        **{
            f"percentile {share}": {
                "calibrate_method": CalibrationMethod.Percentile,
                "extra_options": {"CalibPercentile": share},
            }
            for share in (99.999, 99.99)
        },
    }
    best = -np.inf
    chosen = ""
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.onnx"
        for name, options in methods.items():
            _quantize(source, candidate, pixels, options)
            found = quality(candidate)
            if found > best:
                best, chosen = found, name
                to_fp16(candidate, target)
    return chosen


class _Ranges:
    """onnxruntime's CalibrationDataReader: the batches that ranges are taken from, all of one size, as it needs."""

    def __init__(self, pixels: Pixels) -> None:
        assert len(pixels) % BATCH == 0
        self._batches = iter([pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)])

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def _normalisation(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """What lies before the first layer of weights: one pass over the pixels, exact and faster in float32."""
    return itertools.takewhile(lambda node: node.op_type not in ("Conv", "Gemm", "MatMul"), model.graph.node)


def _whitening(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The layer behind the backbone's features, if there is one: its small directions would drown in 8 bits."""
    producers = {name: node for node in model.graph.node for name in node.output}
    last = producers["features"]
    before = producers.get(last.input[0])
    if last.op_type == "MatMul" and before is not None and before.op_type == "Sub":  # of the mean
        yield last
        yield before


def _quantised(model: onnx.ModelProto) -> list[str] | None:
    """The operators that compute in int8; None for all.

    Of networks with layer norms (ViTs, ConvNeXt) the products alone: what is added up from block to block has a few
    large dimensions, in whose steps of 8 bits the others drown.
    """
    transformer = any(node.op_type == "LayerNormalization" for node in model.graph.node)
    return ["Conv", "Gemm", "MatMul"] if transformer else None


def _quantize(source: Path, target: Path, pixels: Pixels, options: dict[str, Any]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    CalibrationDataReader.register(_Ranges)
    graph = onnx.load(source)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends a pre-processing that the exporter has done already
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                source,
                target,
                _Ranges(pixels),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                op_types_to_quantize=_quantised(graph),
                use_external_data_format=weights_file(source).exists(),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[node.name for node in (*_normalisation(graph), *_whitening(graph))],
                **options,
            )
    finally:
        logger.setLevel(level)
    _whiten_in_float(target)


def _whiten_in_float(path: Path) -> None:
    """Give the whitening the features before they are rounded to 8 bits, which is done for the heads beside it."""
    model = onnx.load(path)
    producers = {name: node for node in model.graph.node for name in node.output}
    if not (nodes := list(_whitening(model))):
        return
    centring = nodes[-1]
    rounded = producers.get(centring.input[0])
    if rounded is not None and rounded.op_type == "DequantizeLinear":
        centring.input[0] = producers[rounded.input[0]].input[0]
        save(model, path)
