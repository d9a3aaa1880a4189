"""The forms in which clients of other servers ask for a vector of unit norm: numbers, bytes, or coarser ones."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]


def as_base64(row: Row) -> str:
    """Little-endian float32, as base64."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")


def as_int8(row: Row) -> npt.NDArray[np.int8]:
    """127 times the numbers, rounded: of the unit sphere, so no calibration is needed."""
    return np.rint(127 * row).astype(np.int8)


def as_uint8(row: Row) -> npt.NDArray[np.uint8]:
    """As int8, plus 128."""
    return (as_int8(row).astype(np.int16) + 128).astype(np.uint8)


def as_ubinary(row: Row) -> npt.NDArray[np.uint8]:
    """A bit for each number, 1 where it is above 0; eight to a byte, the first the highest, the last byte filled up."""
    return np.packbits(row > 0)


def as_binary(row: Row) -> npt.NDArray[np.int8]:
    """As ubinary, minus 128."""
    return (as_ubinary(row).astype(np.int16) - 128).astype(np.int8)


ENCODINGS: dict[str, Callable[[Row], Any]] = {
    "float": lambda row: row,
    "base64": as_base64,
    "int8": as_int8,
    "uint8": as_uint8,
    "binary": as_binary,
    "ubinary": as_ubinary,
}
