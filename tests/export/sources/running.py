"""An ONNX file exported by the command and served, beside what onnxruntime makes of the file itself."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Encoder
from export.__main__ import main

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
COLOURS = ("--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3")


def export(*arguments) -> int:
    return main([str(a) for a in arguments])


def expected(path, pixels, *, output="features", layout="NCHW"):
    """What onnxruntime makes of the file itself, one image at a time."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32)
    x = x.transpose(0, 3, 1, 2) if layout == "NCHW" else x
    return np.concatenate([session.run([output], {"image": image[None]})[0] for image in x])


def served(folder, pixels, precision="fp32"):
    return Encoder.load(Bundle.open(folder), precision=precision, session_threads=1).encode(pixels)


def agree(found, features):
    assert found.shape == features.shape
    assert np.abs(found - features).max() <= 1e-4 * np.abs(features).max()
