"""What the metrics ask of their input, and the unit norm that most of them begin with.

Shapes: N images, D dims.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Float = TypeVar("Float", np.float32, np.float64)


def features_of(features: npt.ArrayLike, dtype: type[Float], what: str = "features") -> npt.NDArray[Float]:
    """Features [N, D] as `dtype`; ValueError, which calls them `what`, if empty, of another shape or not finite."""
    rows_ND: npt.NDArray[Float] = np.asarray(features, dtype=dtype)
    if rows_ND.ndim != 2 or rows_ND.size == 0:
        raise ValueError(f"{what} must be a non-empty [images, dims] array, not one of shape {rows_ND.shape}")
    if not np.isfinite(rows_ND).all():
        raise ValueError(f"{what} hold NaN or infinity")
    return rows_ND


def labelled(
    features: npt.ArrayLike, labels: npt.ArrayLike, which: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """The `which` features [N, D] in float32 and their labels [N], numbers or text; ValueError if they do not fit."""
    rows_ND, names = features_of(features, np.float32, f"{which} features"), np.asarray(labels)
    if names.shape != rows_ND.shape[:1]:
        raise ValueError(f"{len(rows_ND)} {which} features need as many labels in one dimension, not {names.shape}")
    return rows_ND, names


def unit_rows(rows_ND: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Rows of length 1; a zero row stays."""
    norm: npt.NDArray[Float] = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    norm[norm == 0] = 1
    unit: npt.NDArray[Float] = rows_ND / norm
    return unit
