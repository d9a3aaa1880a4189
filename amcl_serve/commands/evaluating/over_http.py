"""A running server as what embeds: every vector and every score is one that it answered."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from amcl_serve.client import Client
from amcl_serve.commands.bulk.local import batches
from amcl_serve.commands.bulk.sending import AT_ONCE
from amcl_serve.commands.evaluating.in_process import preprocessing
from amcl_serve.errors import AmclError, UnexpectedAnswer
from amcl_serve.evaluation.embedder import About, Embedded, Scored
from amcl_serve.model.bundle import InputSpec

TOGETHER = 64  # images or pairs of a request

T = TypeVar("T")


class OverHttp:
    """`Embedder` of a server's model; `client` sends up to 2 TOGETHER items a request.

    The API scores images, not vectors: the files are kept in a temporary one, and found again by their embedding.
    """

    def __init__(self, client: Client, name: str) -> None:
        card = client.model(name)
        try:
            self.about = About(
                name=card["name"],
                digest=card["digest"],
                precision=card["precision"],
                provider=card["provider"],
                size=card["input"]["size"],
                preprocessing=preprocessing(InputSpec(**card["input"])),
                through="over HTTP",
            )
            self._heads = int(card["heads"])
        except (KeyError, TypeError, ValueError):
            raise UnexpectedAnswer(f"the card of the model {name} is none that this version knows") from None
        self._client = client
        self._files = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the embedder lives
        self._places: dict[bytes, tuple[int, int]] = {}  # of each embedding: where its file begins, how long it is

    def embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        """As `Embedder`."""
        found = [each for group in self._each(self._embed, list(batches(images, TOGETHER))) for each in group]
        for image, item in zip(images, found, strict=True):
            if isinstance(item, Embedded):
                self._places.setdefault(_key(item), (self._files.seek(0, 2), len(image)))
                self._files.write(image)
        return found

    def score(self, a: Sequence[Embedded], b: Sequence[Embedded]) -> Scored:
        """As `Embedder`, of what it embedded itself."""
        sides = list(batches(zip(map(self._image, a), map(self._image, b), strict=True), TOGETHER))
        rows = [row for group in self._each(self._score, sides) for row in group]
        return Scored(
            features=_column(rows, "feature_similarity"),
            score=_column(rows, "score"),
            probability=_optional(rows, "probability"),
            heads=_optional(rows, "head_similarity"),
            temperature=_optional(rows, "temperature"),
        )

    def _embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        features = self._client.embed_each(images, model=self.about.name)
        if not self._heads:
            none = np.empty((0, 0), np.float32)
            return [row if isinstance(row, AmclError) else Embedded(row, none) for row in features]
        heads = self._client.embed_each(images, outputs="heads", model=self.about.name)
        return [
            row if isinstance(row, AmclError) else other if isinstance(other, AmclError) else Embedded(row, other)
            for row, other in zip(features, heads, strict=True)
        ]

    def _score(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        a, b = zip(*pairs, strict=True)
        found = list(self._client.similarity(a, b, model=self.about.name)["data"])
        for row in found:
            if "error" in row:
                raise UnexpectedAnswer(f"images that were embedded are not scored: {row['error']['detail']}")
        return found

    def _image(self, item: Embedded) -> bytes:
        start, length = self._places[_key(item)]
        self._files.seek(start)
        return self._files.read(length)

    @staticmethod
    def _each(work: Callable[[T], list[Any]], groups: Sequence[T]) -> list[list[Any]]:
        """Several requests at a time: one is read, one is on its way, one is embedded."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="amcl-evaluate") as pool:
            return list(pool.map(work, groups))


def _key(item: Embedded) -> bytes:
    return hashlib.blake2b(item.features.tobytes() + item.heads.tobytes(), digest_size=16).digest()


def _column(rows: Sequence[Any], name: str) -> npt.NDArray[np.float64]:
    return np.array([row[name] for row in rows], np.float64)


def _optional(rows: Sequence[Any], name: str) -> npt.NDArray[np.float64] | None:
    return None if not rows or rows[0][name] is None else _column(rows, name)
