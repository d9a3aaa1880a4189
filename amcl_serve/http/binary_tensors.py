"""The bytes behind the JSON of the Open Inference Protocol: its binary tensor extension."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import BadRequest, TooManyItems

HEADER = "inference-header-content-length"
_LENGTH = struct.Struct("<I")


def split(body: bytes, said: str) -> tuple[bytes, bytes]:
    """JSON and what follows it; `said` is the header's value, empty where all is JSON. BadRequest if it cannot be."""
    if not said:
        return body, b""
    if not said.isdecimal() or int(said) > len(body):
        raise BadRequest(f"{HEADER} is {said[:32]!r}; it is the bytes of JSON at the start of the body")
    length = int(said)
    return body[:length], body[length:]


def elements(data: bytes, most: int) -> list[bytes]:
    """The elements of a BYTES tensor, each behind its length; BadRequest, or TooManyItems above `most`."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, at)[0] if start <= len(data) else len(data) + 1
        if end > len(data):
            raise BadRequest(f"the binary data of the tensor ends within element {len(found)}")
        if len(found) == most:
            raise TooManyItems(f"the tensor has more than {most} images; that is the limit a request")
        found.append(data[start:end])
        at = end
    return found


def packed(arrays: Sequence[npt.NDArray[np.float32]]) -> bytes:
    """FP32 tensors, one after the other."""
    return b"".join(array.astype("<f4").tobytes() for array in arrays)
