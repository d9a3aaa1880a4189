"""Static int8 from the float32 encoder; what stays float is stored as float16."""

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

from export.graphs.files import save, weights_file
from export.graphs.float16 import store_in_float16
from export.graphs.nodes import whitening
from export.networks import BATCH, Pixels


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
                model = onnx.load(candidate)
                store_in_float16(model)
                save(model, target)
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
                nodes_to_exclude=[node.name for node in (*_normalisation(graph), *whitening(graph))],
                **options,
            )
    finally:
        logger.setLevel(level)
    _whiten_in_float(target)


def _whiten_in_float(path: Path) -> None:
    """Give the whitening the features before they are rounded to 8 bits, which is done for the heads beside it."""
    model = onnx.load(path)
    producers = {name: node for node in model.graph.node for name in node.output}
    if not (nodes := list(whitening(model))):
        return
    centring = nodes[-1]
    rounded = producers.get(centring.input[0])
    if rounded is not None and rounded.op_type == "DequantizeLinear":
        centring.input[0] = producers[rounded.input[0]].input[0]
        save(model, path)
