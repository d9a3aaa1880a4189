"""One face for everything that embeds pixels: the PyTorch reference and the ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from amcl_serve.model.encoder import Embeddings
from amcl_serve.model.sessions import CPU, open_session
from export.onnx import ServedEncoder, write_encoder
from training.config import Config
from training.machine import cores
from training.model.model import AmclModel

BATCH = 32

Pixels = npt.NDArray[np.uint8]
Network = Callable[[Pixels], Embeddings]  # uint8 [N, S, S, 3] -> N embeddings


def torch_network(served: ServedEncoder) -> Network:
    """PyTorch in float32 on the CPU."""

    def run(pixels: Pixels) -> Embeddings:
        with torch.inference_mode():
            features, heads = served(torch.from_numpy(pixels))
        return Embeddings(features.numpy(), heads.numpy())

    return run


def onnx_network(path: Path) -> Network:
    """An encoder file in onnxruntime on the CPU."""
    session = open_session(path, provider=CPU, threads=cores())

    def run(pixels: Pixels) -> Embeddings:
        features, heads = session.run(["features", "heads"], {"pixels": pixels})
        return Embeddings(features, heads)

    return run


def untrained(config: Config, size: int) -> ServedEncoder:
    """The network of `config` before training (weights from seed 0, batch norms at their initial statistics).

    It sees images of `size` pixels a side.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ServedEncoder(AmclModel(config), config, size)


def served_network(served: ServedEncoder) -> Network:
    """`served` in float32 in onnxruntime on the CPU, through a file that is not kept.

    Other networks that it is compared with run there too: PyTorch's threads beside onnxruntime's slow both down.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        write_encoder(served, path)
        return onnx_network(path)


def embed(network: Network, pixels: Pixels) -> Embeddings:
    """Embed pixels [N, S, S, 3] in batches, so that memory is bounded."""
    parts = [network(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    return Embeddings(np.concatenate([p.features for p in parts]), np.concatenate([p.heads for p in parts]))
