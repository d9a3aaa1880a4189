"""The methods of /embed, /similarity, /models and /readyz."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import quote

import httpx
import numpy as np
import orjson

from amcl_serve.client import answers
from amcl_serve.client._blocking.sending import Sender
from amcl_serve.client.calls import Call, Groups, checked, checked_group, named, read
from amcl_serve.client.images import Image, several
from amcl_serve.client.shapes import CrossAnswer, ModelSummary, PairsAnswer, Vectors
from amcl_serve.errors import AmclError, Unreachable

Output = Literal["features", "heads"]
DType = Literal["float32", "float16"]


class Images(Sender):
    """Images to vectors, and pairs of images to scores."""

    def embed(
        self,
        images: Iterable[Image],
        *,
        outputs: Output = "features",
        normalize: bool = False,
        dtype: DType = "float32",
        model: str | None = None,
    ) -> Vectors:
        """The images' features [N, D], or heads [N, C, d'], in their order, in as many requests as it takes.

        `normalize` scales features to unit norm; heads always have it. `model` is one of several that the server may
        hold, by default its first. Raises the error of the first image that cannot be embedded, which names its place
        and lists all of them in `items`; `embed_each` goes on. ValueError without an image.
        """
        found = self.embed_each(images, outputs=outputs, normalize=normalize, dtype=dtype, model=model)
        if not found:
            raise ValueError("no images to embed")
        error = answers.first_error(found)
        if error is not None:
            raise error
        return np.stack([row for row in found if not isinstance(row, AmclError)])

    def embed_each(
        self,
        images: Iterable[Image],
        *,
        outputs: Output = "features",
        normalize: bool = False,
        dtype: DType = "float32",
        model: str | None = None,
    ) -> list[Vectors | AmclError]:
        """As `embed`, an entry for each image: its vector [D], or heads [C, d'], or its own error."""
        params = {"outputs": outputs, "normalize": str(normalize).lower(), "dtype": dtype, **named(model)}
        found: list[Vectors | AmclError] = []
        groups = Groups[bytes](self.limits)
        for image in several(images):
            content = self._content(image)
            group = groups.add(content, len(content))
            if group:
                found += self._embed_group(group, params, len(found))
        group = groups.rest()
        return found + (self._embed_group(group, params, len(found)) if group else [])

    def similarity(self, a: Sequence[Image], b: Sequence[Image], *, model: str | None = None) -> PairsAnswer:
        """The scores of a₁b₁, a₂b₂, …, in as many requests as it takes; ValueError for unequal numbers or none.

        A pair with a bad image has `error` in place of scores; the error of a single pair is raised.
        """
        a, b = several(a), several(b)
        if len(a) != len(b) or not len(a):
            raise ValueError(f"pairs take as many `a` as `b`, at least one; there are {len(a)} and {len(b)}")
        answer = PairsAnswer(model="", digest="", mode="pairs", data=[])
        groups = Groups[tuple[bytes, bytes]](self.limits)
        for x, y in zip(a, b, strict=True):
            pair = (self._content(x), self._content(y))
            group = groups.add(pair, len(pair[0]) + len(pair[1]))
            if group:
                self._score_group(group, answer, model, single=False)
        self._score_group(groups.rest(), answer, model, single=len(a) == 1)
        return answer

    def similarity_cross(self, a: Sequence[Image], b: Sequence[Image], *, model: str | None = None) -> CrossAnswer:
        """The scores of every a with every b, in one request."""
        files = []
        for side, images in (("a", a), ("b", b)):
            for image in several(images):
                files.append((side, ("image", self._content(image))))  # noqa: PERF401 - it is awaited
        call = Call("POST", "/similarity", named(model), files=files, data={"mode": "cross"})
        return answers.cross(checked_group(self._send(call), self.limits, len(files)))

    def models(self) -> list[ModelSummary]:
        """The loaded models."""
        response = checked(self._send(Call("GET", "/models")))
        return read(response, lambda: list(orjson.loads(response.content)["data"]))

    def model(self, name: str = "default") -> dict[str, Any]:
        """A model's card, as `GET /models/{name}` has it; raises ModelNotFound."""
        response = checked(self._send(Call("GET", f"/models/{quote(name, safe='')}")))
        return read(response, lambda: dict(orjson.loads(response.content)))

    def ready(self) -> bool:
        """Whether the server can embed images now; False where none answers."""
        try:
            response = self._send(Call("GET", "/readyz", patient=False))
        except Unreachable:
            return False
        return response.status_code == 200

    def _embed_group(self, images: Sequence[bytes], params: dict[str, str], offset: int) -> list[Vectors | AmclError]:
        """An entry for each image of one request, whose first is the caller's image `offset`."""
        response = self._ask_for(images, params, answers.NPY)
        if len(images) == 1 and (error := answers.own_error(response)) is not None:
            return [error]
        checked_group(response, self.limits, len(images), offset=offset)
        found, failed = answers.rows(response, len(images))
        if not failed:
            return found
        # An array has no room for reasons: the failed ones are asked for once more, as JSON, which has.
        again = [images[index] for index in failed]
        response = self._ask_for(again, params, "application/json")
        if len(again) == 1 and (error := answers.own_error(response)) is not None:
            found[failed[0]] = error
            return found
        checked_group(response, self.limits, len(again), offset=offset)
        for index, item in zip(failed, answers.items(response, len(again), params["dtype"]), strict=True):
            found[index] = item
        return found

    def _ask_for(self, images: Sequence[bytes], params: dict[str, str], accept: str) -> httpx.Response:
        if len(images) == 1:  # as it is: the least work on both sides
            headers = {"accept": accept, "content-type": "application/octet-stream"}
            return self._send(Call("POST", "/embed", params, headers, content=images[0]))
        files = [("files", ("image", image)) for image in images]
        return self._send(Call("POST", "/embed", params, {"accept": accept}, files=files))

    def _score_group(
        self, pairs: Sequence[tuple[bytes, bytes]], answer: PairsAnswer, model: str | None, *, single: bool
    ) -> None:
        """Add the scores of one request's pairs to `answer`."""
        files = [(side, ("image", image)) for pair in pairs for side, image in zip("ab", pair, strict=True)]
        response = self._send(Call("POST", "/similarity", named(model), files=files))
        data = answer["data"]
        try:
            checked_group(response, self.limits, len(pairs), offset=len(data))
        except answers.OF_ONE_IMAGE as error:
            if single:
                raise
            fault: dict[str, Any] = {"code": error.code, "detail": error.detail}
            if error.items:
                fault = {"code": error.code, "detail": error.items[0].detail, "operand": error.items[0].operand}
            scored: list[Any] = [{"index": 0, "error": fault}]
        else:
            body = answers.complete(response, len(pairs))
            answer["model"], answer["digest"], scored = body["model"], body["digest"], body["data"]
        for item in scored:
            data.append(item | {"index": len(data)})
