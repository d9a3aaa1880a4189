"""Vectors as directions, and the cosine of two of them, the same to the last bit whatever stands beside them.

Shapes: N vectors of D components, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows, Vectors

Floats = npt.NDArray[np.float32]

_PART = 4096  # vectors or pairs that are laid out in float64 at a time


@dataclass(frozen=True)
class Directions:
    """Rows [N], ascending, with their vectors as float32 of unit length [N, D] (of a zero vector: zeros), and the
    squares of those lengths [N] in float64, which rounding has moved off 1.
    """

    rows: Rows
    units: Vectors
    squares: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.rows)

    def part(self, start: int, stop: int) -> Directions:
        """Those from `start` to before `stop`."""
        return Directions(self.rows[start:stop], self.units[start:stop], self.squares[start:stop])


def read(scan: Scan, rows: Rows) -> Directions:
    """The directions of those of `rows` that are still there."""
    return directions(*scan.vectors(rows), unit=scan.info.distance == "Cosine")


def directions(rows: Rows, vectors: Vectors, *, unit: bool) -> Directions:
    """Of vectors float32 [N, D], which have unit length already, or any."""
    units = vectors if unit else np.empty_like(vectors)
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), _PART):
        wide = vectors[start : start + _PART].astype(np.float64)
        if not unit:
            largest = np.abs(wide).max(axis=1, keepdims=True)
            wide /= np.where(largest > 0, largest, 1)  # keeps the squares from overflowing or vanishing
            length = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
            units[start : start + _PART] = wide / np.where(length > 0, length, 1)
            wide = units[start : start + _PART].astype(np.float64)
        squares[start : start + _PART] = np.square(wide).sum(axis=1)
    return Directions(rows, units, squares)


def cosines(left: Directions, right: Directions, i: npt.NDArray[Any], j: npt.NDArray[Any]) -> Floats:
    """The cosines float32 [P] of `left` at the places i [P] and `right` at j [P]; NaN of a zero vector.

    Summed in float64, each pair by itself: that of two equal vectors is 1, and neither order nor company matters,
    which BLAS does not promise.
    """
    found = np.empty(len(i), np.float32)
    for start in range(0, len(i), _PART):
        a, b = i[start : start + _PART], j[start : start + _PART]
        products = (left.units[a].astype(np.float64) * right.units[b]).sum(axis=1)
        with np.errstate(invalid="ignore"):
            found[start : start + _PART] = products / np.sqrt(left.squares[a] * right.squares[b])
    return found
