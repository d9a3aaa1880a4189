"""Encoder: uint8 pixels to features and heads, through one onnxruntime session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from amcl_serve.bundle import Bundle, Precision, encoder_file, probe_image
from amcl_serve.errors import BundleError, ProviderUnavailable

CPU = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU, "cuda": "CUDAExecutionProvider"}  # short names; any other is onnxruntime's own


@dataclass(frozen=True)
class Embeddings:
    """What the encoder says of N images: `features` float32 [N, D], unnormalised; `heads` float32 [N, C, d'], of norm 1."""

    features: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """N."""
        return len(self.features)


class Encoder:
    """A bundle's encoder at one precision on one execution provider; `encode` may be called from any thread.

    `provider` is what onnxruntime really uses, by its own name, not what was asked for.
    """

    def __init__(self, bundle: Bundle, precision: Precision, session: ort.InferenceSession) -> None:
        self.bundle = bundle
        self.precision = precision
        self._session = session

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        *,
        precision: Literal["auto", "fp32", "fp16", "int8"] = "auto",
        provider: str = "cpu",
        session_threads: int,
    ) -> Encoder:
        """Load the encoder at `precision` ("auto": int8 on CPU, fp16 elsewhere, else the first there is) on `provider`.

        Raises ProviderUnavailable when onnxruntime would use another provider than the one asked for, and BundleError
        when the bundle has no such precision or its graph does not fit its card.
        """
        provider = PROVIDERS.get(provider.lower(), provider)
        chosen = _choose_precision(bundle, provider) if precision == "auto" else precision
        session = _open_session(bundle, chosen, provider, session_threads)
        _check_graph(bundle, chosen, session)
        return cls(bundle, chosen, session)

    @property
    def provider(self) -> str:
        """The execution provider in use, by onnxruntime's name."""
        return str(self._session.get_providers()[0])

    def encode(self, pixels: npt.NDArray[np.uint8]) -> Embeddings:
        """Embed `pixels`, uint8 [N, S, S, 3] with S the card's input size; ValueError for any other array."""
        size = self.bundle.card.input.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(f"pixels must be uint8 [N, {size}, {size}, 3], not {pixels.dtype} {list(pixels.shape)}")
        if not len(pixels):
            card = self.bundle.card
            return Embeddings(
                np.empty((0, card.feature_dim), np.float32), np.empty((0, card.num_heads, card.head_dim), np.float32)
            )
        features, heads = self._session.run(["features", "heads"], {"pixels": pixels})
        return Embeddings(features, heads)

    def verify_probe(self) -> None:
        """Embed the probe image and compare with the card, at the loaded precision.

        Raises BundleError when the card has no probe for it, or when the cosine falls below the card's `min_cosine`.
        """
        card = self.bundle.card
        expected = np.asarray(card.probe.features.get(self.precision, []), dtype=np.float64)
        if len(expected) != card.feature_dim:
            raise BundleError(
                f"bundle {card.name}: the card has no probe of {card.feature_dim} values for {self.precision}"
            )
        found = self.encode(probe_image(card.input.size)[None]).features[0].astype(np.float64)
        norms = np.linalg.norm(found) * np.linalg.norm(expected)
        cosine = float(found @ expected / norms) if norms > 0 else 0.0
        if not cosine >= card.probe.min_cosine:  # also true for NaN
            raise BundleError(
                f"bundle {card.name}: {self.precision} on {self.provider} embeds the probe image with cosine {cosine:.6f} "
                f"to the card's; at least {card.probe.min_cosine} is needed. Try another precision or provider"
            )


def _choose_precision(bundle: Bundle, provider: str) -> Precision:
    wanted: Precision = "int8" if provider == CPU else "fp16"
    return wanted if wanted in bundle.precisions else bundle.precisions[0]


def session_options(threads: int) -> ort.SessionOptions:
    """Options of a session that shares its machine: `threads` workers that sleep when idle, all graph optimisations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning steals the decoders' cores
    options.log_severity_level = 3
    return options


def _open_session(bundle: Bundle, precision: Precision, provider: str, threads: int) -> ort.InferenceSession:
    path = bundle.encoder_path(precision)
    if provider not in ort.get_available_providers():
        raise ProviderUnavailable(_missing(provider, "this onnxruntime is built without it"))
    try:
        session = ort.InferenceSession(path, session_options(threads), providers=[provider])
    except Exception as error:  # onnxruntime's exceptions share no base class
        if provider != CPU:
            raise ProviderUnavailable(_missing(provider, "onnxruntime could not start it")) from error
        name = encoder_file(precision)
        raise BundleError(f"bundle {bundle.card.name}: onnxruntime {ort.__version__} cannot load {name}") from error
    # onnxruntime goes on with the CPU when a provider's libraries are missing, and lists it as available all the same.
    if session.get_providers()[0] != provider:
        raise ProviderUnavailable(_missing(provider, "its libraries or its device did not load"))
    return session


def _missing(provider: str, why: str) -> str:
    if provider == PROVIDERS["cuda"]:
        return (
            f"{provider} is not available: {why}. Install amcl-serve[gpu] without the cpu extra on a machine with an "
            "NVIDIA driver, or choose --provider cpu"
        )
    return f"{provider} is not available: {why}. Available here: {', '.join(ort.get_available_providers())}"


def _check_graph(bundle: Bundle, precision: Precision, session: ort.InferenceSession) -> None:
    card = bundle.card
    size = card.input.size
    expected = {
        "pixels": ("tensor(uint8)", (size, size, 3)),
        "features": ("tensor(float)", (card.feature_dim,)),
        "heads": ("tensor(float)", (card.num_heads, card.head_dim)),
    }
    found = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    for name, (kind, dims) in expected.items():
        node = found.get(name)
        if node is None or node.type != kind or not _fits(node.shape, dims):
            have = "nothing" if node is None else f"{node.type} {node.shape}"
            raise BundleError(
                f"bundle {card.name}: {encoder_file(precision)} has {have} as {name!r}; "
                f"the card asks for {kind} ['N', {', '.join(map(str, dims))}] with a dynamic N"
            )


def _fits(shape: list[int | str | None], dims: tuple[int, ...]) -> bool:
    """Whether `shape` is [dynamic, *dims]; a named dimension beyond the first is left to the probe."""
    return (
        len(shape) == len(dims) + 1
        and not isinstance(shape[0], int)
        and all(have == want or not isinstance(have, int) for have, want in zip(shape[1:], dims, strict=True))
    )
