"""Vectors in large pages of memory: what was filled bit by bit lies scattered, and reading it takes a third longer."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

LARGE = 32 << 20  # bytes; less is not worth a call
_STEP = 16 << 20  # bytes moved while no write comes in: about 30 ms
_PAGE = 2 << 20  # bytes of a large page, where memory has such
_COLLAPSE = 25  # MADV_COLLAPSE, of Linux 6.1, which `mmap` has no name for

Memory = tuple[int, int]  # address and bytes


def gather(held: Callable[[], AbstractContextManager[Memory]], wanted: Memory) -> None:
    """Move the memory `wanted` into large pages, step by step, and have what is written to it later lie in such.

    `held()` keeps memory from being freed while it is held, and gives what there is by then: where that begins
    elsewhere, this ends. Where the system cannot do it, nothing happens.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    begin, length = wanted
    first, last = -(-begin // _PAGE) * _PAGE, (begin + length) // _PAGE * _PAGE
    for start in range(first, last, _STEP):
        with held() as (address, there):
            if address != begin or there < length:
                return
            size = min(_STEP, last - start)
            if advise(start, size, mmap.MADV_HUGEPAGE) or advise(start, size, _COLLAPSE):
                return
