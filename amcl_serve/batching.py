"""Engine: from the bytes of many requests to their embeddings, in the largest batches that cost no waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.encoder import Embeddings, Encoder
from amcl_serve.errors import AmclError
from amcl_serve.settings import Settings


@dataclass(frozen=True)
class Embedded:
    """One image's embedding: `features` float32 [D], unnormalised; `heads` float32 [C, d'], unit norm."""

    features: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Timing:
    """Milliseconds that the image answered last spent waiting, decoding and in the encoder; the sum is its whole time."""

    queue_ms: float
    decode_ms: float
    inference_ms: float


@dataclass(frozen=True)
class EmbedResult:
    """One entry an image, in order: its embedding, or the error that concerns it alone."""

    items: list[Embedded | AmclError]
    timing: Timing


def stack(items: Sequence[Embedded]) -> Embeddings:
    """The rows of `items` as one Embeddings; ValueError if there are none."""
    raise NotImplementedError


class Engine:
    """Admission, decoding and batching around one encoder."""

    on_batch: Callable[[int, float], None] | None  # called with (batch size, seconds) after each call of the encoder

    def __init__(self, encoder: Encoder, *, settings: Settings) -> None:
        self.on_batch = None

    async def start(self) -> None:
        """Start the threads."""

    async def stop(self) -> None:
        """Refuse new requests, answer the admitted ones, end the threads."""

    @property
    def healthy(self) -> bool:
        """Whether requests can be answered: started, not stopping, and the inference thread alive."""
        raise NotImplementedError

    @property
    def depth(self) -> int:
        """Images admitted and not yet answered."""
        raise NotImplementedError

    async def embed(self, images: Sequence[bytes]) -> EmbedResult:
        """Embed `images`; raises NotReady, Overloaded or DeadlineExceeded for the whole request."""
        raise NotImplementedError
