"""Bytes to pixels: every limit on a single image lives here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from amcl_serve.bundle import InputSpec


def decode(data: bytes, spec: InputSpec, *, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode one image to uint8 [S, S, 3]."""
    raise NotImplementedError
