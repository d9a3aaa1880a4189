"""The scripts of /embed, /similarity, /models and /readyz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any, Literal

import httpx
import numpy as np

from amcl_serve.client.shapes import CrossAnswer, Image, ModelSummary, PairsAnswer, Vectors
from amcl_serve.client.wire import (
    ERRORS,
    Limits,
    Request,
    Script,
    checked,
    checked_group,
    grouped,
    named,
    read,
    several,
    to_bytes,
)
from amcl_serve.errors import (
    AmclError,
    BodyTooLarge,
    EmptyImage,
    ImageTooLarge,
    UndecodableImage,
    UnexpectedAnswer,
    Unreachable,
    UnsupportedImage,
)

NPY = "application/x-npy"
OF_ONE_IMAGE = (EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage)

Pair = tuple[bytes, bytes]


def embed(
    limits: Limits,
    images: Iterable[Image],
    *,
    outputs: Literal["features", "heads"] = "features",
    normalize: bool = False,
    dtype: Literal["float32", "float16"] = "float32",
    model: str | None = None,
) -> Script[Vectors]:
    """The images' features [N, D], or heads [N, C, d'], in the order of the images, in as many requests as it takes.

    `normalize` scales features to unit norm; heads always have it. `model` is one of several that the server may hold,
    by default its first. Raises the error of the first image that cannot be
    embedded, which names its place; `embed_each` goes on. ValueError without an image.
    """
    items = yield from embed_each(limits, images, outputs=outputs, normalize=normalize, dtype=dtype, model=model)
    if not items:
        raise ValueError("no images to embed")
    rows = []
    for index, item in enumerate(items):
        if isinstance(item, AmclError):
            raise type(item)(f"images[{index}]: {item.detail}")
        rows.append(item)
    return np.stack(rows)


def embed_each(
    limits: Limits,
    images: Iterable[Image],
    *,
    outputs: Literal["features", "heads"] = "features",
    normalize: bool = False,
    dtype: Literal["float32", "float16"] = "float32",
    model: str | None = None,
) -> Script[list[Vectors | AmclError]]:
    """As `embed`, an entry for each image: its vector [D], or heads [C, d'], or the error that concerns it alone."""
    params = {"outputs": outputs, "normalize": str(normalize).lower(), "dtype": dtype, **named(model)}
    found: list[Vectors | AmclError] = []
    for group in grouped((to_bytes(image) for image in several(images)), limits, len):
        items, failed = yield from _rows(limits, group, params)
        if failed:
            # An array has no room for reasons: the failed ones are asked for once more, as JSON, which has.
            reasons = yield from _reasons(limits, [group[index] for index in failed], params)
            for index, item in zip(failed, reasons, strict=True):
                items[index] = item
        found += items
    return found


def similarity(
    limits: Limits, a: Sequence[Image], b: Sequence[Image], *, model: str | None = None
) -> Script[PairsAnswer]:
    """The scores of a₁b₁, a₂b₂, …, in as many requests as it takes; ValueError for unequal numbers or none.

    A pair with a bad image has `error` in place of scores; the error of a single pair is raised.
    """
    a, b = several(a), several(b)
    if len(a) != len(b) or not a:
        raise ValueError(f"pairs take as many `a` as `b`, at least one; there are {len(a)} and {len(b)}")
    pairs: Iterator[Pair] = ((to_bytes(x), to_bytes(y)) for x, y in zip(a, b, strict=True))
    answer = PairsAnswer(model="", digest="", mode="pairs", data=[])
    data = answer["data"]
    for group in grouped(pairs, limits, lambda pair: len(pair[0]) + len(pair[1])):
        files = [(side, ("image", image)) for pair in group for side, image in zip("ab", pair, strict=True)]
        response = yield Request("POST", "/similarity", named(model), files=files)
        try:
            checked_group(response, limits, len(group))
        except OF_ONE_IMAGE as error:
            if len(a) == 1:
                raise
            items: list[Any] = [{"index": 0, "error": {"code": error.code, "detail": error.detail}}]
        else:
            body = _complete(response, len(group))
            answer["model"], answer["digest"], items = body["model"], body["digest"], body["data"]
        for item in items:
            data.append(item | {"index": len(data)})
    return answer


def similarity_cross(
    limits: Limits, a: Sequence[Image], b: Sequence[Image], *, model: str | None = None
) -> Script[CrossAnswer]:
    """The scores of every a with every b, in one request."""
    files = [(side, ("image", to_bytes(image))) for side, images in (("a", a), ("b", b)) for image in several(images)]
    response = yield Request("POST", "/similarity", named(model), files=files, data={"mode": "cross"})
    checked_group(response, limits, len(files))

    def parse() -> CrossAnswer:
        body = response.json()
        scores = {name: None if m is None else np.array(m, np.float32) for name, m in body["data"].items()}
        head = {name: body[name] for name in ("model", "digest", "errors")}
        parsed: Any = {**head, **{name: scores[name] for name in ("feature_similarity", "score", "probability")}}
        answer: CrossAnswer = parsed
        return answer

    return read(response, parse)


def models(_: Limits) -> Script[list[ModelSummary]]:
    """The loaded models."""
    response = checked((yield Request("GET", "/models")))
    return read(response, lambda: list(response.json()["data"]))


def ready(_: Limits) -> Script[bool]:
    """Whether the server can embed images now; False where none answers."""
    try:
        response = yield Request("GET", "/readyz", patient=False)
    except Unreachable:
        return False
    return response.status_code == 200


def _embed_request(images: Sequence[bytes], params: dict[str, str], accept: str) -> Request:
    if len(images) == 1:  # as it is: the least work on both sides
        headers = {"accept": accept, "content-type": "application/octet-stream"}
        return Request("POST", "/embed", params, headers, content=images[0])
    files = [("files", ("image", image)) for image in images]
    return Request("POST", "/embed", params, {"accept": accept}, files=files)


def _rows(
    limits: Limits, images: Sequence[bytes], params: dict[str, str]
) -> Script[tuple[list[Vectors | AmclError], list[int]]]:
    """An entry for each image of one request, and the places of those that have no vector."""
    response = yield _embed_request(images, params, NPY)
    if len(images) == 1 and (error := _own_error(response)) is not None:
        return [error], []
    checked_group(response, limits, len(images))

    def parse() -> tuple[list[Vectors | AmclError], list[int]]:
        rows = np.load(BytesIO(response.content), allow_pickle=False)
        failed = [int(index) for index in response.headers.get("x-failed-indices", "").split(",") if index]
        if len(rows) + len(failed) != len(images) or not all(0 <= index < len(images) for index in failed):
            raise ValueError("rows and images do not match")
        vectors = iter(rows)
        placeholder = UnexpectedAnswer("no reason was given")
        return [placeholder if i in failed else next(vectors) for i in range(len(images))], failed

    return read(response, parse)


def _reasons(limits: Limits, images: Sequence[bytes], params: dict[str, str]) -> Script[list[Vectors | AmclError]]:
    """Errors of images that failed; a vector where one does not fail again."""
    response = yield _embed_request(images, params, "application/json")
    if len(images) == 1 and (error := _own_error(response)) is not None:
        return [error]
    checked_group(response, limits, len(images))
    return [_item(item, params["dtype"]) for item in _complete(response, len(images))["data"]]


def _item(item: dict[str, Any], dtype: str) -> Vectors | AmclError:
    if "error" in item:
        return ERRORS.get(item["error"]["code"], UnexpectedAnswer)(item["error"]["detail"])
    vector: Vectors = np.array(item["embedding"] if "embedding" in item else item["heads"], np.float32).astype(dtype)
    return vector


def _own_error(response: httpx.Response) -> AmclError | None:
    """The error of a request's only image; None for an answer, or an error that is not the image's."""
    try:
        checked(response)
    except (*OF_ONE_IMAGE, BodyTooLarge) as error:
        return error
    except AmclError:
        pass
    return None


def _complete(response: httpx.Response, count: int) -> Any:
    """The body of an answer, whose `data` has an entry for each of `count` items."""

    def parse() -> Any:
        body = response.json()
        if len(body["data"]) != count or not {"model", "digest"} <= set(body):
            raise ValueError("not what was asked for")
        return body

    return read(response, parse)
