"""The first directory of a TIFF or BigTIFF, of either byte order, as numbers by tag."""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

import numpy as np

from amcl_serve.errors import UndecodableImage

_KINDS = {  # TIFF's types of values, as NumPy's; rational ones as two numbers
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4", 12: "f8",
    13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
_MOST_TAGS = 4096
_PROFILE = 34675
READ = frozenset((
    256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 317, 320, 322, 323, 324, 325, 332, 338, 339, 347,
    529, 530, 532, _PROFILE,
))  # fmt: skip

Tags = dict[int, list[int]]


Order = Literal["<", ">"]


class Directory(NamedTuple):
    """Byte order ("<" or ">"), the numbers of each tag in READ, and the colour profile."""

    order: Order
    tags: Tags
    profile: bytes | None

    def one(self, tag: int, default: int) -> int:
        """The only, or first, number of a tag."""
        values = self.tags.get(tag)
        return values[0] if values else default


def parse(data: bytes) -> Directory:
    """The first directory; UndecodableImage where the file ends before it does. `data` begins as a TIFF does."""
    order: Order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        tags: Tags = {}
        profile = None
        for number in range(min(count, _MOST_TAGS)):
            tag, kind, amount, field = entry.unpack_from(data, at + number * entry.size)
            if tag not in READ or tag in tags:
                continue
            raw = _value(data, order, big, kind, amount, field)
            if tag == _PROFILE:
                profile = raw
            else:
                tags[tag] = np.frombuffer(raw, np.dtype(_KINDS[kind]).newbyteorder(order)).tolist()
    except (struct.error, ValueError, KeyError, OverflowError):
        raise UndecodableImage("the image is damaged or cut off: a TIFF without a whole directory") from None
    return Directory(order, tags, profile)


def _value(data: bytes, order: Order, big: bool, kind: int, amount: int, field: bytes) -> bytes:
    size = amount * np.dtype(_KINDS[kind]).itemsize * (2 if kind in (5, 10) else 1)
    if size <= len(field):
        return field[:size]
    (offset,) = struct.unpack(order + ("Q" if big else "I"), field)
    if offset + size > len(data):
        raise ValueError("beyond the end")
    return data[offset : offset + size]
