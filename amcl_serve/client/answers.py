"""What the answers of /embed and /similarity say, item by item."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import orjson

from amcl_serve.client.calls import ERRORS, checked, read
from amcl_serve.client.shapes import CrossAnswer, Vectors
from amcl_serve.errors import (
    AmclError,
    BodyTooLarge,
    EmptyImage,
    ImageTooLarge,
    ItemFault,
    UndecodableImage,
    UnexpectedAnswer,
    UnsupportedImage,
)

NPY = "application/x-npy"
OF_ONE_IMAGE = (EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage)


def rows(response: httpx.Response, count: int) -> tuple[list[Vectors | AmclError], list[int]]:
    """An entry for each of `count` images of an answer in .npy, and the places of those that have no vector."""

    def parse() -> tuple[list[Vectors | AmclError], list[int]]:
        found = np.load(BytesIO(response.content), allow_pickle=False)
        failed = [int(index) for index in response.headers.get("x-failed-indices", "").split(",") if index]
        if len(found) + len(failed) != count or not all(0 <= index < count for index in failed):
            raise ValueError("rows and images do not match")
        if not failed:
            return list(found), failed
        vectors = iter(found)
        placeholder = UnexpectedAnswer("no reason was given")
        return [placeholder if i in failed else next(vectors) for i in range(count)], failed

    return read(response, parse)


def items(response: httpx.Response, count: int, dtype: str) -> list[Vectors | AmclError]:
    """An entry for each of `count` images of an answer in JSON: its vector, or its error."""
    return [_item(item, dtype) for item in complete(response, count)["data"]]


def complete(response: httpx.Response, count: int) -> Any:
    """The body of an answer, whose `data` has an entry for each of `count` items."""

    def parse() -> Any:
        body = orjson.loads(response.content)
        if len(body["data"]) != count or not {"model", "digest"} <= set(body):
            raise ValueError("not what was asked for")
        return body

    return read(response, parse)


def cross(response: httpx.Response) -> CrossAnswer:
    """The matrices of an answer in mode cross."""

    def parse() -> CrossAnswer:
        body = orjson.loads(response.content)
        scores = {name: None if m is None else np.array(m, np.float32) for name, m in body["data"].items()}
        head = {name: body[name] for name in ("model", "digest", "errors")}
        parsed: Any = {**head, **{name: scores[name] for name in ("feature_similarity", "score", "probability")}}
        answer: CrossAnswer = parsed
        return answer

    return read(response, parse)


def own_error(response: httpx.Response) -> AmclError | None:
    """The error of a request's only image; None for an answer, or an error that is not the image's."""
    if response.is_success:
        return None
    try:
        checked(response)
    except (*OF_ONE_IMAGE, BodyTooLarge) as error:
        return error
    except AmclError:
        pass
    return None


def first_error(found: list[Vectors | AmclError]) -> AmclError | None:
    """The error of the first image that has one, as that of all: `items` lists every one of them."""
    faults = [ItemFault("images", i, e.code, e.detail) for i, e in enumerate(found) if isinstance(e, AmclError)]
    if not faults:
        return None
    first = faults[0]
    kind = type(found[first.index])
    assert issubclass(kind, AmclError)
    return kind(f"images[{first.index}]: {first.detail}", faults)


def _item(item: Mapping[str, Any], dtype: str) -> Vectors | AmclError:
    if "error" in item:
        return ERRORS.get(item["error"]["code"], UnexpectedAnswer)(item["error"]["detail"])
    vector: Vectors = np.array(item["embedding"] if "embedding" in item else item["heads"], np.float32).astype(dtype)
    return vector
