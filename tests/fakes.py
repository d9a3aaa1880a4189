"""A real bundle, tiny and made in a moment, and an encoder without onnxruntime: what tests use instead of weights."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from amcl_serve.model.bundle import (
    CARD_FILE,
    TEMPERATURE_FILE,
    Calibration,
    InputSpec,
    Metric,
    ModelCard,
    Parity,
    Precision,
    Probe,
    TemperatureSpec,
    encoder_file,
    file_entry,
    probe_image,
)
from amcl_serve.model.encoder import Embeddings, Encoder

D, C, HEAD_DIM = 8, 3, 4
LOW, HIGH, CONSTANT = 0.05, 0.5, 0.1
GRID = 4  # the encoder sees the mean colours of GRID x GRID patches


def make_bundle(
    folder: Path,
    *,
    adaptive: bool = True,
    calibrated: bool = True,
    size: int = 16,
    name: str = "tiny",
    precisions: tuple[Precision, ...] = ("fp32",),
    seed: int = 0,
    heads: bool = True,
    calibrated_features: bool = False,
) -> Path:
    """Write a bundle into `folder` (made if need be) and return it; the same graph stands for every precision.

    D = 8, C = 3, d' = 4; `size` is a multiple of 4. Not adaptive: a constant temperature of 0.1. Not `heads`: a model
    from elsewhere, of the same features, which is read by the bicubic filter and a crop of 0.875.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoder_graph(size, seed, heads=heads).SerializeToString()
    for precision in precisions:
        (folder / encoder_file(precision)).write_bytes(encoder)
    if heads:
        (folder / TEMPERATURE_FILE).write_bytes(temperature_graph(adaptive=adaptive).SerializeToString())
    session = ort.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    features = session.run(["features"], {"pixels": probe_image(size)[None]})[0][0]
    unit = [float(value) for value in features / np.linalg.norm(features)]
    low, high, value = (LOW, HIGH, CONSTANT) if adaptive else (CONSTANT, CONSTANT, CONSTANT)
    temperature = TemperatureSpec(kind="adaptive" if adaptive else "constant", low=low, high=high, value=value)
    trained = {"heads": {"num": C}, "temperature": {"kind": temperature.kind}}
    card = ModelCard(
        name=name,
        description="A random projection of mean colours, for tests.",
        method="simclr" if heads else "not stated",
        recipe="simclr" if heads else "onnx",
        config=trained if heads else {},
        backbone="mean-colours",
        feature_dim=D,
        num_heads=C if heads else 0,
        head_dim=HEAD_DIM if heads else 0,
        input=InputSpec(size=size) if heads else InputSpec(size=size, interpolation="bicubic", crop=0.875),
        temperature=temperature if heads else None,
        files={path.name: file_entry(path) for path in sorted(folder.glob("*.onnx"))},
        parity=dict.fromkeys(precisions, PARITY if heads else PARITY.model_copy(update=NO_HEADS)),
        metrics={"knn": Metric(value=0.5, protocol="none: written by a test")},
        calibration=CALIBRATION if calibrated else None,
        feature_calibration=CALIBRATION if calibrated_features else None,
        probe=Probe(features=dict.fromkeys(precisions, unit), min_cosine=0.999),
        training_data="none" if heads else "not stated",
        licence="Apache-2.0",
    )
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2))
    return folder


CALIBRATION = Calibration(
    slope=10.0,
    intercept=-5.0,
    protocol="none: written by a test",
    pairs=100,
    auroc=0.9,
    accuracy=0.8,
    brier=0.1,
    expected_calibration_error=0.05,
)
PARITY = Parity(
    images=1,
    features_max_abs=0.0,
    heads_max_abs=0.0,
    features_min_cosine=1.0,
    features_mean_cosine=1.0,
    features_p01_cosine=1.0,
    heads_min_cosine=1.0,
    heads_mean_cosine=1.0,
    heads_p01_cosine=1.0,
)
NO_HEADS = {name: None for name in Parity.model_fields if name.startswith("heads")}


def encoder_graph(size: int, seed: int = 0, *, heads: bool = True) -> onnx.ModelProto:
    """pixels uint8 [N, size, size, 3] -> features [N, 8], heads [N, 3, 4], a fixed random map of mean patch colours.

    Not `heads`: features alone.
    """
    rng = np.random.default_rng(seed)
    patch = size // GRID
    weights = {
        "scale": np.float32(2 / 255),
        "one": np.float32(1),
        "w_features": rng.normal(0, 0.3, (3 * GRID * GRID, D)).astype(np.float32),
        "b_features": rng.normal(0, 0.1, D).astype(np.float32),
        "w_heads": rng.normal(0, 0.5, (D, C * HEAD_DIM)).astype(np.float32),
        "head_shape": np.array([-1, C, HEAD_DIM], np.int64),
        "tiny": np.float32(1e-12),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["patches"], kernel_shape=[patch] * 2, strides=[patch] * 2),
        helper.make_node("Flatten", ["patches"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w_features"], ["projected"]),
        helper.make_node("Add", ["projected", "b_features"], ["features"]),
    ]
    of_heads = [
        helper.make_node("MatMul", ["features", "w_heads"], ["raw"]),
        helper.make_node("Reshape", ["raw", "head_shape"], ["split"]),
        helper.make_node("ReduceL2", ["split"], ["norm"], axes=[2], keepdims=1),
        helper.make_node("Max", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", ["split", "safe_norm"], ["heads"]),
    ]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])]
    outputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", D]),
        helper.make_tensor_value_info("heads", TensorProto.FLOAT, ["N", C, HEAD_DIM]),
    ]
    if not heads:
        weights = {name: value for name, value in weights.items() if name not in ("w_heads", "head_shape", "tiny")}
        return _model(nodes, inputs, outputs[:1], weights)
    return _model(nodes + of_heads, inputs, outputs, weights)


def temperature_graph(*, adaptive: bool) -> onnx.ModelProto:
    """heads_a, heads_b [N, 3, 4] -> temperature [N, 3]: low + (high - low) sigmoid(-4 cosine), or 0.1 everywhere."""
    low, span = (LOW, HIGH - LOW) if adaptive else (CONSTANT, 0.0)
    weights = {
        "axis": np.array([2], np.int64),
        "gain": np.float32(-4),
        "low": np.float32(low),
        "span": np.float32(span),
    }
    nodes = [
        helper.make_node("Mul", ["heads_a", "heads_b"], ["products"]),
        helper.make_node("ReduceSum", ["products", "axis"], ["cosine"], keepdims=0),
        helper.make_node("Mul", ["cosine", "gain"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["share"]),
        helper.make_node("Mul", ["share", "span"], ["above"]),
        helper.make_node("Add", ["above", "low"], ["temperature"]),
    ]
    inputs = [helper.make_tensor_value_info(f"heads_{x}", TensorProto.FLOAT, ["N", C, HEAD_DIM]) for x in "ab"]
    outputs = [helper.make_tensor_value_info("temperature", TensorProto.FLOAT, ["N", C])]
    return _model(nodes, inputs, outputs, weights)


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class FakeEncoder(Encoder):
    """Features are the mean colour, repeated; `gate` blocks, `delay` (seconds) slows, `failure` breaks each call.

    It counts as a device; `provider` CPUExecutionProvider makes it one of the cores' own work.
    """

    def __init__(
        self,
        *,
        size: int = 16,
        delay: float = 0.0,
        failure: BaseException | None = None,
        provider: str = "FakeExecutionProvider",
        session_threads: int = 1,
    ) -> None:
        self.bundle: Any = SimpleNamespace(card=SimpleNamespace(name="fake", input=InputSpec(size=size)))
        self.precision = "fp32"
        self.session_threads = session_threads
        self._provider = provider
        self.delay = delay
        self.failure = failure
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []  # sizes, in order
        self.reopened = 0  # times

    @property
    def provider(self) -> str:
        return self._provider

    @property
    def placement(self) -> None:
        return None

    def encode(self, pixels: npt.NDArray[np.uint8]) -> Embeddings:
        self.batches.append(len(pixels))
        self.gate.wait(10)
        time.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        means = pixels.mean(axis=(1, 2), dtype=np.float32)
        features = np.tile(means, (1, 3))[:, :D]
        heads = np.full((len(pixels), C, HEAD_DIM), 0.5, np.float32)
        return Embeddings(features, heads)

    def reopen(self) -> None:
        self.reopened += 1

    def verify_probe(self) -> None:
        if self.failure is not None:
            raise self.failure
