"""What goes through the pipes between a process and its child: a head of fixed size, then as many bytes as it says.

    asked     flags, size, crop, largest number of pixels, length; then the file
    answered  status, width, height, length; then RGB pixels, or an error as JSON {"code", "detail"}

Before it decodes a large image the child says how many pixels that has, in an answer's head, and waits for TURN.

Nothing is unpickled, and the asking side believes no number: a decoder that was taken over writes the answer.
"""

from __future__ import annotations

import json
import struct

from PIL import Image

from amcl_serve.errors import AmclError, EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from amcl_serve.model.formats.reading import BICUBIC, Wanted

ASKED = struct.Struct(">BHdQQ")
ANSWERED = struct.Struct(">BIIQ")
READY = b"\x06"  # from a child that can begin
TURN = b"\x05"  # to a child that may go on
PIXELS, ERROR, WAITING = 0, 1, 2

_SCALED, _TRUNCATED, _BICUBIC = 1, 2, 4
_ERRORS: dict[str, type[AmclError]] = {
    error.code: error for error in (EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage)
}
_LONGEST_ERROR = 4096


class BadAnswer(Exception):
    """What came from a child is no answer to what it was asked."""


def ask(wanted: Wanted, length: int) -> bytes:
    """The head of a question about a file of `length` bytes."""
    bicubic = wanted.interpolation == BICUBIC
    flags = _SCALED * wanted.scaled | _TRUNCATED * wanted.accept_truncated | _BICUBIC * bicubic
    return ASKED.pack(flags, wanted.size, wanted.crop, min(wanted.max_pixels, 2**63), length)


def asked(head: bytes) -> tuple[Wanted, int]:
    """What `ask` packed."""
    flags, size, crop, max_pixels, length = ASKED.unpack(head)
    interpolation = BICUBIC if flags & _BICUBIC else "bilinear"
    return Wanted(size, bool(flags & _SCALED), max_pixels, bool(flags & _TRUNCATED), interpolation, crop), length


def pixels(image: Image.Image) -> tuple[bytes, bytes]:
    """Head and body of an answer with an RGB image."""
    assert image.mode == "RGB"
    body = image.tobytes()
    return ANSWERED.pack(PIXELS, *image.size, len(body)), body


def error(fault: AmclError) -> tuple[bytes, bytes]:
    """Head and body of an answer with the error of an image."""
    body = json.dumps({"code": fault.code, "detail": fault.detail}).encode()
    return ANSWERED.pack(ERROR, 0, 0, len(body)), body


def waiting(pixels: int) -> bytes:
    """The head with which a child waits for its turn to decode so many pixels."""
    return ANSWERED.pack(WAITING, 0, 0, pixels)


def wants_turn(head: bytes, wanted: Wanted) -> int | None:
    """The pixels that `waiting` packed; None of another head, BadAnswer of a number that cannot be."""
    status, _, _, pixels = ANSWERED.unpack(head)
    if status != WAITING:
        return None
    if not 0 < pixels <= wanted.max_pixels:
        raise BadAnswer
    return int(pixels)


def body_length(head: bytes, wanted: Wanted) -> int:
    """Bytes that follow the head of an answer; BadAnswer if they cannot be what was asked for."""
    status, width, height, length = ANSWERED.unpack(head)
    if status == ERROR and length <= _LONGEST_ERROR:
        return int(length)
    square = (wanted.size, wanted.size)
    fits = (width, height) == square if wanted.size else 0 < width * height <= wanted.max_pixels
    if status != PIXELS or not fits or length != 3 * width * height:
        raise BadAnswer
    return int(length)


def answer(head: bytes, body: bytes | bytearray) -> Image.Image:
    """The image of an answer; raises its error, or BadAnswer."""
    status, width, height, _ = ANSWERED.unpack(head)
    if status == PIXELS:
        return Image.frombytes("RGB", (width, height), body)
    try:
        told = json.loads(body)
        fault = _ERRORS[told["code"]](str(told["detail"]))
    except (ValueError, KeyError, TypeError):
        raise BadAnswer from None
    raise fault
