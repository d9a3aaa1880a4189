"""Encoder: uint8 pixels to features and heads, through one onnxruntime session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from amcl_serve.errors import BundleError
from amcl_serve.machine import cores
from amcl_serve.model.bundle import Bundle, Precision, encoder_file, probe_image
from amcl_serve.model.providers import CPU, Options, provider_names
from amcl_serve.model.sessions import (
    FLOAT,
    UINT8,
    Placement,
    check_graph,
    check_version,
    open_session,
    placement,
)

_SLOW = 0.005  # seconds of an image on one core


@dataclass(frozen=True)
class Embeddings:
    """What the encoder says of N images: `features` float32 [N, D], unnormalised, and `heads` float32 [N, C, d'],
    each head of norm 1; [N, 0, 0] of a model without heads.
    """

    features: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """N."""
        return len(self.features)


def unit_norm(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """`rows` [..., K] scaled to norm 1 along the last axis, in double precision; a zero row stays zero."""
    wide = rows.astype(np.float64)
    norm = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(norm > 0, norm, 1)


class Encoder:
    """A bundle's encoder at one precision; `encode` may be called from any thread.

    Of `providers`, onnxruntime's names, the first runs it, and those behind it what it does not take.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision,
        session_threads: int,
        providers: Sequence[str],
        options: Options | None = None,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.session_threads = session_threads
        self._open = partial(_open, bundle, precision, session_threads, providers, options)
        self._session = self._open()

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        *,
        precision: Literal["auto", "fp32", "fp16", "int8"] = "auto",
        provider: str = "cpu",
        options: Options | None = None,
        session_threads: int | None = None,
    ) -> Encoder:
        """Load the encoder at `precision` ("auto": int8 on CPU, fp16 elsewhere, else the first there is) on `provider`.

        `provider` is a name or a list (`provider_names`), `options` those of each by onnxruntime's name.

        `session_threads` None: every core for a network that is slow on one, else one. What threads save of a call of
        a few milliseconds, waking them costs, and cores that share a call do less than cores with a call each.

        Raises ProviderUnavailable when onnxruntime would use another provider than the one asked for, and BundleError
        when the bundle has no such precision or its graph does not fit its card.
        """
        providers = provider_names(provider)
        chosen = _choose_precision(bundle, providers[0]) if precision == "auto" else precision
        encoder = cls(bundle, chosen, session_threads or 1, providers, options)
        if session_threads is None and providers[0] == CPU and cores() > 1 and encoder._seconds() > _SLOW:
            return cls(bundle, chosen, cores(), providers, options)
        return encoder

    def _seconds(self) -> float:
        """Time of one image, the best of three; 0 for a network that does not run, which is the warm-up's to report."""
        image = probe_image(self.bundle.card.input.size)[None]
        found = []
        for _ in range(3):
            start = perf_counter()
            try:
                self.encode(image)
            except Exception:  # onnxruntime's exceptions share no base class
                return 0.0
            found.append(perf_counter() - start)
        return min(found)

    def reopen(self) -> None:
        """Replace the session, which has failed, by a new one; raises as `load`."""
        self._session = self._open()

    @property
    def provider(self) -> str:
        """The execution provider that onnxruntime really uses, by its own name."""
        return str(self._session.get_providers()[0])

    @property
    def placement(self) -> Placement | None:
        """Which operators run on which provider; None on the CPU, and where onnxruntime does not say."""
        return placement(self._session)

    def encode(self, pixels: npt.NDArray[np.uint8]) -> Embeddings:
        """Embed `pixels`, uint8 [N, S, S, 3] with S the card's input size; ValueError for any other array."""
        size = self.bundle.card.input.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(f"pixels must be uint8 [N, {size}, {size}, 3], not {pixels.dtype} {list(pixels.shape)}")
        if not self.bundle.card.num_heads:
            (features,) = self._session.run(["features"], {"pixels": pixels})
            return Embeddings(features, np.empty((len(features), 0, 0), np.float32))
        features, heads = self._session.run(["features", "heads"], {"pixels": pixels})
        return Embeddings(features, heads)

    def verify_probe(self) -> None:
        """Embed the probe image at the loaded precision and compare it with the card.

        Raises BundleError when the card has no probe for the precision, or the cosine is below the card's `min_cosine`.
        """
        card = self.bundle.card
        expected = np.asarray(card.probe.features.get(self.precision, []), dtype=np.float64)
        if len(expected) != card.feature_dim:
            raise BundleError(
                f"bundle {card.name}: no probe of {card.feature_dim} values for {self.precision} on its card"
            )
        found = self.encode(probe_image(card.input.size)[None]).features[0].astype(np.float64)
        norms = np.linalg.norm(found) * np.linalg.norm(expected)
        cosine = float(found @ expected / norms) if norms > 0 else 0.0
        if not cosine >= card.probe.min_cosine:  # NaN fails too
            raise BundleError(
                f"bundle {card.name}: {self.precision} on {self.provider} embeds the probe image at a cosine of "
                f"{cosine:.6f} to the card's, below {card.probe.min_cosine}; choose another precision or provider"
            )


def _open(
    bundle: Bundle, precision: Precision, session_threads: int, providers: Sequence[str], options: Options | None
) -> ort.InferenceSession:
    card = bundle.card
    check_version(card.name, card.onnxruntime)
    path = bundle.encoder_path(precision)
    session = open_session(path, threads=session_threads, providers=providers, options=options)
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "pixels": (UINT8, (card.input.size, card.input.size, 3)),
        "features": (FLOAT, (card.feature_dim,)),
    }
    if card.num_heads:
        expected["heads"] = (FLOAT, (card.num_heads, card.head_dim))
    check_graph(f"bundle {card.name}, {encoder_file(precision)}", session, expected)
    return session


def _choose_precision(bundle: Bundle, provider: str) -> Precision:
    wanted: Precision = "int8" if provider == CPU else "fp16"
    return wanted if wanted in bundle.precisions else bundle.precisions[0]
