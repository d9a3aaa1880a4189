"""Forms of files and text fields, taken apart as their bytes come; all of it stays in memory, which limits bound.

Starlette's own reading puts every file over 1 MB on the disk and reads it back: 8 files of 3 MB took 8 times as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from amcl_serve.errors import BadRequest, InvalidRequest, TooManyItems

MAX_FIELDS = 16  # text fields: the options
MAX_FIELD_BYTES = 4096


@dataclass(frozen=True)
class Limits:
    """`max_files` in all, which `files` puts in words; bytes of one text field; what the files are."""

    max_files: int
    files: str
    max_field_bytes: int = MAX_FIELD_BYTES
    what: str = "images go"


@dataclass
class Form:
    """Files and texts by the names of their fields, each in the order in which they came."""

    files: dict[str, list[bytes]]
    fields: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


async def read_form(content_type: str, receive: Receive, names: tuple[str, ...], limits: Limits) -> Form:
    """The files under each of `names`, and the text fields.

    Raises BadRequest, InvalidRequest, TooManyItems, and what reading the body raises.
    """
    return await take_apart(content_type, receive, Parts(names, limits))


async def take_apart(
    content_type: str, receive: Receive, parts: Parts, each: Callable[[], Awaitable[None]] | None = None
) -> Form:
    """As `read_form`; `each` is awaited after each piece of the body."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadRequest("the multipart body has no boundary: its content type is to name one")
    parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]  # a TypedDict of these names
    more = True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parser.write(message.get("body", b""))
            if each is not None:
                await each()
            more = message.get("more_body", False)
        parser.finalize()
    except FormParserError:
        raise BadRequest("the multipart body is malformed") from None
    if not parts.ended:
        raise BadRequest("the multipart body is malformed: it has no end")
    return parts.form


class Parts:
    """What the parser calls; of the part under way it keeps the headers, then the chunks."""

    def __init__(self, names: tuple[str, ...], limits: Limits) -> None:
        self.form = Form({name: [] for name in names})
        self.ended = False
        self._limits = limits
        self._counts = {"files": 0, "fields": 0}
        self._header = [b"", b""]
        self.disposition = b""
        self.name = ""
        self.is_file = False
        self.chunks: list[bytes] = []
        self._bytes = 0

    def callbacks(self) -> dict[str, object]:
        """For the parser."""
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self.part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _end(self) -> None:
        self.ended = True

    def _part_begin(self) -> None:
        self.disposition, self.chunks, self._bytes = b"", [], 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self.disposition = self._header[1]
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self.disposition)
        if b"name" not in options:
            raise BadRequest("the multipart body is malformed: a part has no name in its Content-Disposition")
        self.name, self.is_file = text_of(options[b"name"]), b"filename" in options
        known = _listed(self.form.files)
        if self.is_file and self.name not in self.form.files:
            raise InvalidRequest(f"unknown file field {self.name[:64]!r}; {self._limits.what} into {known}")
        if not self.is_file and self.name in self.form.files:
            raise InvalidRequest(f"{self.name!r} was sent as text; send it as a file: a part with a filename")
        kind = "files" if self.is_file else "fields"
        self._counts[kind] += 1
        if self._counts["files"] > self._limits.max_files:
            raise TooManyItems(f"too many files; the limit is {self._limits.files}")
        if self._counts["fields"] > MAX_FIELDS:
            raise BadRequest(f"the form has more than {MAX_FIELDS} text fields")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._bytes += end - start
        if not self.is_file and self._bytes > self._limits.max_field_bytes:
            most = self._limits.max_field_bytes
            raise BadRequest(f"the text field {self.name[:64]!r} has more than {most} bytes")
        self.chunks.append(data[start:end])

    def part_end(self) -> None:
        """Put the part where its name says."""
        content = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks = []
        if self.is_file:
            self.form.files[self.name].append(content)
        else:
            self.form.fields[self.name].append(text_of(content))


def text_of(data: bytes) -> str:
    """A field, or a name: UTF-8, else what no byte is wrong in."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _listed(names: dict[str, list[bytes]]) -> str:
    return " and ".join(f"`{name}`" for name in names)
