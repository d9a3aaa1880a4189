"""Requests and answers as values: what the methods' scripts are made of. Nothing here sends anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import numpy as np
import orjson

from amcl_serve.client.shapes import Image
from amcl_serve.errors import AmclError, BodyTooLarge, TooManyItems, UnexpectedAnswer

T = TypeVar("T")
Images = TypeVar("Images", bound=Iterable[Image])

PART_BYTES = 512  # more than what multipart adds to an image
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True)
class Limits:
    """What one request may hold; the server's defaults."""

    max_items: int = 256
    max_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One request; `idempotent` if doing it twice is doing it once, so that it may follow a broken connection."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None
    data: Mapping[str, str] | None = None
    idempotent: bool = True
    patient: bool = True  # whether it is sent again at all

    @classmethod
    def json(cls, method: str, path: str, body: object, **others: Any) -> Request:
        """A request with a JSON body; numpy arrays in it are written as lists."""
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return cls(method, path, headers={"content-type": "application/json"}, content=content, **others)

    def arguments(self) -> dict[str, Any]:
        """The arguments of httpx's `request`."""
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params or None,
            "headers": self.headers,
            "content": self.content,
            "files": self.files,
            "data": self.data,
        }


# A method is a generator that yields its requests, is sent their answers, and returns the result. What sends them, and
# whether it blocks or awaits, it does not know.
Script: TypeAlias = Generator[Request, httpx.Response, T]


def _tree(root: type[AmclError]) -> Iterator[type[AmclError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


ERRORS = {error.code: error for error in _tree(AmclError)}


def checked(response: httpx.Response) -> httpx.Response:
    """`response` if it is a success; else the error that it carries is raised."""
    if response.is_success:
        return response
    code, detail = read(response, lambda: _problem(response))
    if code not in ERRORS:
        raise UnexpectedAnswer(f"the server refuses with {response.status_code} {code}: {detail}")
    raise ERRORS[code](detail)


def checked_group(response: httpx.Response, limits: Limits, size: int) -> httpx.Response:
    """As `checked`, for a request of `size` images: one that is too large for this server says what to do."""
    try:
        return checked(response)
    except (BodyTooLarge, TooManyItems) as error:
        if size == 1:
            raise
        raise type(error)(
            f"{error.detail}; this server takes less than the {limits.max_items} items and {limits.max_bytes} bytes a "
            "request that the client was told: give it smaller max_items and max_bytes"
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
    return read(response, lambda: response.json()["result"])


def _problem(response: httpx.Response) -> tuple[str, str]:
    body = response.json()
    return str(body["code"]), str(body["detail"])


def to_bytes(image: Image) -> bytes:
    """The bytes of an image file; OSError where a path cannot be read, TypeError for what is no image.

    A PIL image is turned upright as the server would turn its file, and sent as PNG.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    import PIL.Image
    import PIL.ImageOps

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            raise TypeError(
                f"an array of pixels is uint8 [H, W], [H, W, 3] or [H, W, 4], not {image.dtype} {list(image.shape)}"
            )
        image = PIL.Image.fromarray(image)
    if not isinstance(image, PIL.Image.Image):
        raise TypeError(f"an image is a path, bytes, a PIL image or an array, not {type(image).__name__}")
    upright = PIL.ImageOps.exif_transpose(image)
    stream = BytesIO()
    (upright if upright.mode in PNG_MODES else upright.convert("RGB")).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def several(images: Images) -> Images:
    """`images`; TypeError for a single one that Python would take apart, such as a path into its characters."""
    if isinstance(images, str | bytes | os.PathLike) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise TypeError("images come as a list: [image] for a single one")
    return images


def grouped(items: Iterable[T], limits: Limits, size: Callable[[T], int]) -> Iterator[list[T]]:
    """`items` in lists that a request can hold; one that is larger by itself comes alone. Reads ahead one item."""
    group: list[T] = []
    total = 0
    for item in items:
        more = size(item) + PART_BYTES
        if group and (len(group) == limits.max_items or total + more > limits.max_bytes):
            yield group
            group, total = [], 0
        group.append(item)
        total += more
    if group:
        yield group
