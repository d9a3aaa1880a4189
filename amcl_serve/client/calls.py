"""Calls of the API and their answers as values; nothing here sends anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Generic, TypeVar

import httpx
import orjson

from amcl_serve.errors import AmclError, BodyTooLarge, ItemFault, TooManyItems, UnexpectedAnswer

T = TypeVar("T")

PART_BYTES = 512  # more than what multipart adds to an image


@dataclass(frozen=True)
class Limits:
    """What one request may hold; the server's defaults."""

    max_items: int = 256
    max_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """One request; `idempotent` if doing it twice is doing it once, so that it may follow a broken connection."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None
    data: Mapping[str, str] | None = None
    upload: tuple[str, tuple[str, BinaryIO]] | None = None  # a file that is read as it is sent
    idempotent: bool = True
    patient: bool = True  # whether it is sent again at all

    @classmethod
    def json(cls, method: str, path: str, body: object, **others: Any) -> Call:
        """A call with a JSON body; numpy arrays in it are written as lists."""
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return cls(method, path, headers={"content-type": "application/json"}, content=content, **others)

    def arguments(self) -> dict[str, Any]:
        """The arguments of httpx's `request`; a form in one piece, where httpx would send four for each file."""
        if self.upload is not None:
            return {"method": self.method, "url": self.path, "files": [self.upload], "data": self.data}
        headers, content = dict(self.headers), self.content
        if self.files is not None:
            form = httpx.Request(self.method, "http://form", files=self.files, data=self.data)
            headers["content-type"], content = form.headers["content-type"], form.read()
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params or None,
            "headers": headers,
            "content": content,
        }


class Groups(Generic[T]):
    """Gathers items into groups that a request can hold; one that is larger by itself comes alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: list[T] = []
        self._bytes = 0

    def add(self, item: T, size: int) -> list[T]:
        """Take in an item; the group before it, where the item finds no room in that, else nothing."""
        size += PART_BYTES
        full = len(self._items) == self._limits.max_items or self._bytes + size > self._limits.max_bytes
        group = self.rest() if self._items and full else []
        self._items.append(item)
        self._bytes += size
        return group

    def rest(self) -> list[T]:
        """The last group, perhaps empty."""
        group, self._items, self._bytes = self._items, [], 0
        return group


def _tree(root: type[AmclError]) -> Iterator[type[AmclError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


ERRORS = {error.code: error for error in _tree(AmclError)}


def checked(response: httpx.Response, *, offset: int = 0) -> httpx.Response:
    """`response` if it is a success; else the error that it carries is raised.

    `offset` is the place of the request's first item among the caller's, where they took several requests.
    """
    if response.is_success:
        return response
    code, detail, items = read(response, lambda: _problem(response, offset))
    if code not in ERRORS:
        raise UnexpectedAnswer(f"the server refuses with {response.status_code} {code}: {detail}")
    raise ERRORS[code](detail, items)


def checked_group(response: httpx.Response, limits: Limits, size: int, *, offset: int = 0) -> httpx.Response:
    """As `checked`, for a request of `size` items: one that is too large for this server says what to do."""
    try:
        return checked(response, offset=offset)
    except (BodyTooLarge, TooManyItems) as error:
        if size == 1:
            raise
        raise type(error)(
            f"{error.detail}; this server takes less than the {limits.max_items} items and {limits.max_bytes} bytes a "
            "request that the client was told: give it smaller max_items and max_bytes",
            error.items,
        ) from None


def read(response: httpx.Response, parse: Callable[[], T]) -> T:
    """What `parse` makes of the answer; UnexpectedAnswer where it cannot."""
    try:
        return parse()
    except (ValueError, KeyError, TypeError, EOFError):
        origin = f"{response.url.scheme}://{response.url.netloc.decode('ascii', 'replace')}"
        raise UnexpectedAnswer(
            f"{origin} answers ({response.status_code}), but not as amcl-serve does; is it another server's?"
        ) from None


def named(model: str | None) -> dict[str, str]:
    """The parameters that choose a model; none for the server's first."""
    return {} if model is None else {"model": model}


def result(response: httpx.Response) -> Any:
    """The `result` of an answer of /collections."""
    checked(response)
    return read(response, lambda: orjson.loads(response.content)["result"])


def options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given: None leaves one to the server."""
    return {name: value for name, value in given.items() if value is not None}


def _problem(response: httpx.Response, offset: int) -> tuple[str, str, list[ItemFault]]:
    body = orjson.loads(response.content)
    code, detail = str(body["code"]), str(body["detail"])
    items = [
        ItemFault(str(item["operand"]), int(item["index"]) + offset, str(item["code"]), str(item["detail"]))
        for item in body.get("errors") or ()
    ]
    return code, detail, items
