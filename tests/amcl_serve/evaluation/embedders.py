"""An embedder without a model: what it says of an image is its colours, seen coarsely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.embedder import About, Embedded, Scored
from amcl_serve.model.pixels import upright


class Colours:
    """Features are the image at 4 × 4 pixels, less grey; two heads are its upper and its lower half."""

    def __init__(self, name: str = "colours", noise: float = 0.0, heads: bool = True) -> None:
        self.about = About(name, "abc", "fp32", "none", 16, "resized", "in process")
        self.calls: list[int] = []
        self._noise, self._heads = noise, heads

    def embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        self.calls.append(len(images))
        return [self._one(data) for data in images]

    def _one(self, data: bytes) -> Embedded | AmclError:
        try:
            image = upright(data).resize((4, 4), Image.Resampling.BOX)
        except AmclError as error:
            return error
        row = np.asarray(image, np.float32).ravel() / 255 - 0.5
        rng = np.random.default_rng(list(data[-64:]))
        row = row + self._noise * rng.normal(size=row.shape).astype(np.float32)
        halves = row.reshape(2, -1) if self._heads else np.empty((0, 0), np.float32)
        return Embedded(row, halves / np.maximum(np.linalg.norm(halves, axis=-1, keepdims=True), 1e-6))

    def score(self, a: Sequence[Embedded], b: Sequence[Embedded]) -> Scored:
        x, y = (np.stack([each.features for each in side]).astype(float) for side in (a, b))
        cosine = (x * y).sum(1) / np.maximum(np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1), 1e-9)
        if not self._heads:
            return Scored(cosine, cosine, None, None, None)
        heads = np.stack([(p.heads * q.heads).sum(-1) for p, q in zip(a, b, strict=True)]).astype(float)
        score = heads.mean(1)
        return Scored(cosine, score, 1 / (1 + np.exp(-4 * score)), heads, np.full(heads.shape, 0.2))
