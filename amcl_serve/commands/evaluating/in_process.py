"""A bundle in this process as what embeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from amcl_serve.commands.bulk.local import batches, embed_batches
from amcl_serve.errors import AmclError
from amcl_serve.evaluation.embedder import About, Embedded, Scored
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.encoder import Embeddings
from amcl_serve.settings import Settings


class InProcess:
    """`Embedder` of a loaded model: decoded, encoded and scored by the code that answers requests."""

    def __init__(self, model: LoadedModel, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        spec = model.bundle.card.input
        self.about = About(
            name=model.name,
            digest=model.bundle.digest,
            precision=model.encoder.precision,
            provider=model.encoder.provider,
            size=spec.size,
            preprocessing=preprocessing(spec),
            through="in process",
        )

    def embed(self, images: Sequence[bytes]) -> list[Embedded | AmclError]:
        """As `Embedder`."""
        found: list[Embedded | AmclError] = []
        for _, items in embed_batches(self.model, batches(images, self.settings.max_batch), self.settings):
            found += [item if isinstance(item, AmclError) else Embedded(item.features, item.heads) for item in items]
        return found

    def score(self, a: Sequence[Embedded], b: Sequence[Embedded]) -> Scored:
        """As `Embedder`."""
        found = self.model.scorer.score(_stack(a), _stack(b))
        return Scored(
            features=_wide(found.feature_similarity),
            score=_wide(found.score),
            probability=None if found.probability is None else _wide(found.probability),
            heads=None if found.head_similarity is None else _wide(found.head_similarity),
            temperature=None if found.temperature is None else _wide(found.temperature),
        )


def preprocessing(spec: InputSpec) -> str:
    """What becomes of an image before the network, in words."""
    side = round(spec.size / spec.crop)
    scaled = "; JPEG files decoded at reduced scale" if spec.scaled_jpeg_decoding else ""
    return f"upright sRGB, shorter side to {side} px ({spec.interpolation}), {spec.size} px of the centre{scaled}"


def _stack(items: Sequence[Embedded]) -> Embeddings:
    return Embeddings(np.stack([item.features for item in items]), np.stack([item.heads for item in items]))


def _wide(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return values.astype(np.float64)
