"""A served network of PyTorch as ONNX graphs: pixels to features and heads, and two images' heads to temperatures."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from export.graphs.files import OPSET, forget_sources, save
from export.whiten import Whitening
from training.model.model import AmclModel


class ServedEncoder(nn.Module):
    """What a bundle's encoder computes, in PyTorch: the reference that every precision is compared with.

    `network` maps x float32 [N, 3, S, S], normalised by `mean` and `std` (of values from 0 to 1), to features [N, D],
    or to those and heads [N, C, d']. `forward`: pixels uint8 [N, S, S, 3] -> features float32 [N, D] (whitened,
    unnormalised), or those and heads [N, C, d'] (unit norm). `size` is S.
    """

    scale: Tensor
    shift: Tensor
    centre: Tensor
    matrix: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], size: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        means, stds = torch.tensor(mean), torch.tensor(std)
        self.size = size
        self.whitens = False
        self.register_buffer("scale", (1 / (255 * stds)).repeat(size))
        self.register_buffer("shift", (-means / stds).repeat(size))
        self.eval().requires_grad_(False)

    def whiten(self, whitening: Whitening) -> None:
        """Have features pass `whitening` from now on; heads see them as they were."""
        self.whitens = True
        self.register_buffer("centre", torch.from_numpy(whitening.centre))
        self.register_buffer("matrix", torch.from_numpy(whitening.matrix))

    def forward(self, pixels_NSS3: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Features and, where there are heads, unit-norm heads of uint8 pixels."""
        # By rows of 3 S numbers: onnxruntime broadcasts slowly over a last axis of 3, where it moves a transpose to.
        rows_NSR = pixels_NSS3.reshape(-1, self.size, 3 * self.size).float() * self.scale + self.shift
        x_N3SS = rows_NSR.reshape(-1, self.size, self.size, 3).permute(0, 3, 1, 2)
        found: Tensor | tuple[Tensor, Tensor] = self.network(x_N3SS)
        features_ND = found[0] if isinstance(found, tuple) else found
        if self.whitens:  # centred first: a bias behind the product would have to make up for all of the mean
            features_ND = (features_ND - self.centre) @ self.matrix
        if isinstance(found, Tensor):
            return features_ND
        # Not F.normalize: its `expand` becomes four needless nodes of the graph.
        heads_NCD = found[1]
        return features_ND, heads_NCD / torch.linalg.vector_norm(heads_NCD, dim=-1, keepdim=True).clamp_min(1e-12)


class _GlobalMean(nn.Module):
    """Adaptive average pooling to 1×1, written so that it is exported as one ReduceMean and not as a gather."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def write_encoder(served: ServedEncoder, path: Path) -> None:
    """Write `served` to `path` in float32 with a dynamic batch; batch norms are folded into the layers before them.

    ValueError where its network cannot be traced for a batch of any size.
    """
    module = copy.deepcopy(served)
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
            parent, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(parent), attribute, _GlobalMean())
    pixels = torch.zeros((2, served.size, served.size, 3), dtype=torch.uint8)
    _write(module, (pixels,), ["pixels"], ["features", "heads"], path)


def write_temperature(model: AmclModel, path: Path) -> None:
    """Write the model's temperature to `path`: heads_a, heads_b float32 [N, C, d'] -> temperature [N, C]."""
    heads = torch.zeros((2, model.num_heads, model.head_dim))
    module = copy.deepcopy(model.temperature).eval()
    _write(module, (heads, heads.clone()), ["heads_a", "heads_b"], ["temperature"], path)


def _write(module: nn.Module, args: tuple[Tensor, ...], inputs: list[str], outputs: list[str], path: Path) -> None:
    rows = torch.export.Dim("N")
    with _quiet():
        program = torch.onnx.export(
            module,
            args,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=tuple({0: rows} for _ in args),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    forget_sources(graph)
    save(graph, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's remarks on shapes and versions, which ask nothing of the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
