"""One face for everything that embeds pixels: the PyTorch reference and the ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from amcl_serve.model.encoder import Embeddings
from amcl_serve.model.sessions import open_session
from export.graphs.traced import ServedEncoder
from training.machine import cores

BATCH = 32

Pixels = npt.NDArray[np.uint8]
Network = Callable[[Pixels], Embeddings]  # uint8 [N, S, S, 3] -> N embeddings


def headless(features: npt.NDArray[np.float32]) -> Embeddings:
    """Features [N, D] of a network that has no heads."""
    return Embeddings(features, np.empty((len(features), 0, 0), np.float32))


def torch_network(served: ServedEncoder) -> Network:
    """PyTorch in float32 on the CPU."""

    def run(pixels: Pixels) -> Embeddings:
        with torch.inference_mode():
            found = served(torch.from_numpy(pixels))
        return Embeddings(*(part.numpy() for part in found)) if isinstance(found, tuple) else headless(found.numpy())

    return run


def onnx_network(path: Path) -> Network:
    """An encoder file in onnxruntime on the CPU."""
    session = open_session(path, threads=cores())
    outputs = ["features", "heads"][: len(session.get_outputs())]

    def run(pixels: Pixels) -> Embeddings:
        found = session.run(outputs, {"pixels": pixels})
        return Embeddings(*found) if len(found) == 2 else headless(found[0])

    return run


def served_network(write: Callable[[Path], None]) -> Network:
    """What `write` writes, in float32 in onnxruntime on the CPU, through a file that is not kept.

    Other networks that it is compared with run there too: PyTorch's threads beside onnxruntime's slow both down.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        write(path)
        return onnx_network(path)


def embed(network: Network, pixels: Pixels) -> Embeddings:
    """Embed pixels [N, S, S, 3] in batches, so that memory is bounded."""
    parts = [network(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    return Embeddings(np.concatenate([p.features for p in parts]), np.concatenate([p.heads for p in parts]))
