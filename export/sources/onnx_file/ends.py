"""The two ends of a graph from elsewhere: where images go in, and which tensor is the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from export.errors import UsageError

Layout = Literal["NCHW", "NHWC"]
Pool = Literal["cls", "mean"]
POOLS: tuple[Pool, ...] = get_args(Pool)

_LEAST_SIZE = 8
_SPACE: Mapping[Layout, tuple[int, int, int]] = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}  # colours, height, width


@dataclass(frozen=True)
class Entry:
    """The input `name`. `batch` and `size` are None where any will do; `layouts` are those that its shape allows."""

    name: str
    batch: int | None
    size: int | None
    layouts: tuple[Layout, ...]


@dataclass(frozen=True)
class Exit:
    """The tensor `name` of `rank` is the features, pooled by `pool` where it is a vector for each of many places.

    `dim` is D.
    """

    name: str
    rank: int
    dim: int
    pool: Pool | None

    def pooled(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Features float32 [N, D] of the tensor's `values`."""
        if self.rank == 3:
            values = values[:, 0] if self.pool == "cls" else values.mean(axis=1, dtype=np.float32)
        elif self.rank == 4:
            values = values.mean(axis=(2, 3), dtype=np.float32)
        return values.astype(np.float32)


def entry(model: onnx.ModelProto, path: Path) -> Entry:
    """The one input of `model`, as its shape tells; UsageError where it takes no batch of square colour images."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise UsageError(f"--onnx {path}: an image encoder has one input; this has {names}")
    tensor = inputs[0].type.tensor_type
    kind = TensorProto.DataType.Name(tensor.elem_type).lower()
    if tensor.elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        raise UsageError(f"--onnx {path}: the input {inputs[0].name} is {kind}; it has to be float, of 32 or 16 bits")
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    shape = "[" + ", ".join("?" if dim is None else str(dim) for dim in dims) + "]"
    layouts = tuple(layout for layout in _SPACE if _allows(dims, layout))
    if not layouts:
        raise UsageError(
            f"--onnx {path}: the input {inputs[0].name} is {shape}; an image encoder takes [N, 3, S, S] or "
            "[N, S, S, 3], three colours of a square image"
        )
    _, height, width = _SPACE[layouts[0]]
    size = dims[height] if dims[height] is not None else dims[width]
    return Entry(inputs[0].name, dims[0], size, layouts)


def _allows(dims: Sequence[int | None], layout: Layout) -> bool:
    if len(dims) != 4:
        return False
    colours, height, width = (dims[axis] for axis in _SPACE[layout])
    return (
        colours in (None, 3)
        and (height is None or width is None or height == width)
        and all(side is None or side >= _LEAST_SIZE for side in (height, width))
    )


def choose(found: Mapping[str, npt.NDArray[Any]], batch: int, pool: Pool | None, path: Path) -> Exit:
    """Which of the tensors `found` (as they are for `batch` images) is the features; UsageError in doubt."""
    shapes = {name: list(values.shape) for name, values in found.items()}
    told = "; ".join(f"{name} {shape}" for name, shape in shapes.items())
    fit = {
        name: shape
        for name, shape in shapes.items()
        if 2 <= len(shape) <= 4 and shape[0] == batch and found[name].dtype.kind == "f"
    }
    vectors = [name for name, shape in fit.items() if len(shape) == 2 or shape[2:] == [1, 1]]
    spread = [name for name in fit if name not in vectors]
    if pool is not None and not spread:
        raise UsageError(f"--onnx {path}: --pool needs tokens [N, T, D] or a map [N, D, H, W]; there are {told}")
    candidates = vectors if pool is None else spread
    if len(candidates) > 1:
        raise UsageError(f"--onnx {path}: features could be {', '.join(candidates)}; name one with --output")
    if not candidates and spread:
        raise UsageError(
            f"--onnx {path}: features are one vector for each image, [N, D]; there are {told}. --pool cls takes the "
            "first token, --pool mean the mean of all, --output names another tensor"
        )
    if not candidates:
        raise UsageError(f"--onnx {path}: none of its outputs is features [N, D] for {batch} images: {told}")
    chosen = candidates[0]
    rank = len(shapes[chosen])
    if rank == 4 and pool == "cls":
        raise UsageError(f"--onnx {path}: {chosen} {shapes[chosen]} is a map without a class token; --pool mean")
    return Exit(chosen, rank, shapes[chosen][2 if rank == 3 else 1], pool)
