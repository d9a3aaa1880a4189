"""The child: reads a file from its standard input, answers on its standard output, until there is no more input.

It imports Pillow, NumPy and the decoding, nothing of the server, and ends when the other side has closed the pipe,
as it is when that process has ended in whatever way.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import BinaryIO

from PIL import AvifImagePlugin, ImageFile

from amcl_serve.errors import AmclError
from amcl_serve.model.children import frames
from amcl_serve.model.children.limits import Limits
from amcl_serve.model.formats.files import kind_of
from amcl_serve.model.formats.reading import Wanted, read
from amcl_serve.model.formats.turns import SMALL, Take


def main() -> None:
    """Serve until the input ends."""
    # A terminal's Ctrl-C and a service manager's SIGTERM go to all: what is under way is still wanted.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # libraries print there
        os.dup2(nothing, stream)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there are as many children as cores
    limits = Limits()
    sink.write(frames.READY)
    sink.flush()
    with source, sink:
        while (head := source.read(frames.ASKED.size)) and len(head) == frames.ASKED.size:
            wanted, length = frames.asked(head)
            data = source.read(length)
            if len(data) < length:
                return
            limits.set(length, wanted.max_pixels)
            _send(sink, *_answer(data, wanted, partial(_wait, source, sink, limits, length, wanted)))
            limits.rest()


def _wait(source: BinaryIO, sink: BinaryIO, limits: Limits, length: int, wanted: Wanted, pixels: int) -> None:
    """Until it is the turn of so many pixels, and no clock runs meanwhile."""
    if pixels <= SMALL:
        return
    limits.rest()
    _send(sink, frames.waiting(pixels), b"")
    if source.read(1) != frames.TURN:
        os._exit(0)
    limits.set(length, wanted.max_pixels)


def _answer(data: bytes, wanted: Wanted, take: Take) -> tuple[bytes, bytes]:
    ImageFile.LOAD_TRUNCATED_IMAGES = wanted.accept_truncated
    try:
        return frames.pixels(read(data, kind_of(data), wanted, take, in_child=True))
    except AmclError as error:
        return frames.error(error)


def _send(sink: BinaryIO, head: bytes, body: bytes) -> None:
    try:
        sink.write(head)
        sink.write(body)
        sink.flush()
    except BrokenPipeError:  # nobody is there to be told, nor for what is still in the buffer
        os._exit(0)
