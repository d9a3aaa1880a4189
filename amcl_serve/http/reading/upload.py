"""An archive in a form: written to the disk as it comes, so that memory holds a piece of it at most."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, TypeVar

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel
from python_multipart.multipart import parse_options_header

from amcl_serve.errors import InvalidRequest
from amcl_serve.hosting.files import full_disk_said
from amcl_serve.http.reading import body
from amcl_serve.http.reading.headers import header
from amcl_serve.http.reading.multipart import Limits, Parts, take_apart, text_of

Options = TypeVar("Options", bound=BaseModel)

ARCHIVE = "archive"  # the field
_PIECE = 1 << 20  # bytes that are written at a time
_NAME = 100  # letters of a file's name that are kept

FORM_FIELD = {"type": "string", "format": "binary", "description": "a zip, or a tar, plain or packed by gzip"}


async def save_archive(request: Request, into: Path, options: type[Options]) -> tuple[str, Options]:
    """Write the form's archive into the file `into`; what it was called, and the text fields as `options`.

    InvalidRequest where there is none or the fields do not fit, StorageFull, and what reading a form raises.
    """
    with full_disk_said():
        stream = await to_thread.run_sync(into.open, "xb")
    try:
        parts = _Saved(stream)
        with full_disk_said():
            form = await take_apart(header(request.scope, b"content-type"), request.receive, parts, parts.written)
            await parts.written(rest=True)
    finally:
        await to_thread.run_sync(stream.close)
    if parts.filename is None:
        raise InvalidRequest(f"the form has no file {ARCHIVE!r}: a zip or tar of images")
    return parts.filename, body.options(options, form.fields)


class _Saved(Parts):
    """Parts whose file goes into a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__((ARCHIVE,), Limits(1, "one archive a request", what="the archive goes"))
        self.filename: str | None = None
        self._stream = stream
        self._pieces: list[bytes] = []

    async def written(self, *, rest: bool = False) -> None:
        """Write what has come, once it is worth a thread's work; with `rest` all of it."""
        if self.is_file:
            self._pieces += self.chunks
            self.chunks.clear()
        if self._pieces and (rest or sum(map(len, self._pieces)) >= _PIECE):
            pieces, self._pieces = self._pieces, []
            await to_thread.run_sync(self._stream.writelines, pieces)

    def part_end(self) -> None:
        """The end of a part; a file's bytes wait for `written`."""
        if not self.is_file:
            super().part_end()
            return
        said = parse_options_header(self.disposition)[1].get(b"filename", b"")
        # Some browsers send a whole path, of their own system.
        self.filename = PurePosixPath(PureWindowsPath(text_of(said)).name).name[:_NAME] or ARCHIVE
        self._pieces += self.chunks
        self.chunks.clear()
