"""Agreement of the exported files with their source, and what is still acceptable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from amcl_serve.model.bundle import InputSpec, Metric, Parity, Precision
from amcl_serve.model.encoder import Embeddings
from export.errors import ToleranceError
from export.images import ImageSet, is_large_jpeg, least_large_side, pixels
from export.networks import Network, embed

# Per precision: figure of `Parity` -> bound; figures ending in max_abs are upper bounds, cosines lower ones.
TOLERANCE: Mapping[Precision, Mapping[str, float]] = {
    "fp32": {"features_max_abs": 1e-4, "heads_max_abs": 1e-4},
    "fp16": {"features_min_cosine": 0.9995, "heads_min_cosine": 0.9995},
    "int8": {
        "features_mean_cosine": 0.99,
        "heads_mean_cosine": 0.99,
        "features_p01_cosine": 0.97,
        "heads_p01_cosine": 0.97,
    },
}
# Of features as they are, and of whitened ones: unrelated images have a cosine of about 0.8 there and of 0 here, so
# both allow a two-hundredth of the distance between them.
SCALED_DECODING_COSINE: Mapping[bool, float] = {False: 0.999, True: 0.995}
SCALED_DECODING_IMAGES = 32


def parity(reference: Embeddings, found: Embeddings) -> Parity:
    """Compare embeddings of the same N images; each head of each image counts as one vector."""
    figures = _figures("features", reference.features, found.features)
    if reference.heads.size:
        figures |= _figures("heads", reference.heads, found.heads)
    return Parity(images=len(reference), **figures)


def _figures(output: str, a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> dict[str, float]:
    cosine = _cosine(a, b)
    return {
        f"{output}_max_abs": _max_abs(a, b),
        f"{output}_min_cosine": float(cosine.min()),
        f"{output}_mean_cosine": float(cosine.mean()),
        f"{output}_p01_cosine": float(np.quantile(cosine, 0.01)),
    }


def misses(precision: Precision, found: Parity) -> list[str]:
    """What of `found` lies outside the tolerance of `precision`, one phrase each; empty when all is well."""
    phrases = []
    for figure, bound in TOLERANCE[precision].items():
        value = getattr(found, figure)
        if value is None:  # of heads that there are not
            continue
        upper = figure.endswith("max_abs")
        if not (value <= bound if upper else value >= bound):  # NaN misses
            phrases.append(
                f"{precision} {figure} is {value:.6g}, {'at most' if upper else 'at least'} {bound} is needed"
            )
    return phrases


def refuse_misses(parities: Mapping[Precision, Parity]) -> None:
    """ToleranceError with every figure outside its tolerance, and the way out when it is int8's alone."""
    phrases = [phrase for precision, found in parities.items() for phrase in misses(precision, found)]
    if phrases:
        hint = (
            "; --precision fp32,fp16 leaves int8 out" if all(phrase.startswith("int8 ") for phrase in phrases) else ""
        )
        raise ToleranceError("no bundle was written: " + "; ".join(phrases) + hint)


def table(parities: Mapping[Precision, Parity]) -> str:
    """The parity of each precision as readable lines."""
    header = f"{'':6} {'images':>6}  {'output':8} {'max |diff|':>10} {'mean cos':>9} {'1 % cos':>9} {'min cos':>9}"
    lines = [header]
    for precision, p in parities.items():
        for output in ("features", "heads"):
            if getattr(p, f"{output}_max_abs") is None:
                continue
            first = f"{precision:6} {p.images:6}" if output == "features" else f"{'':13}"
            figures = [getattr(p, f"{output}_{name}_cosine") for name in ("mean", "p01", "min")]
            cosines = " ".join(f"{value:9.6f}" for value in figures)
            lines.append(f"{first}  {output:8} {getattr(p, f'{output}_max_abs'):10.2e} {cosines}")
    return "\n".join(lines)


def scaled_decoding(network: Network, images: ImageSet, spec: InputSpec) -> Metric | None:
    """Mean cosine of the features between JPEG decoding at reduced scale and at full, of the large JPEGs of `images`.

    They have sides of four times the resized one or more; up to 256 images, spread over the set, are looked at. None
    when fewer than 32 are large: nothing is known then. Scaled decoding keeps the embeddings at SCALED_DECODING_COSINE
    or more.
    """
    spread = np.linspace(0, len(images) - 1, min(len(images), 8 * SCALED_DECODING_IMAGES)).astype(int)
    side = least_large_side(spec)
    large = [int(i) for i in spread if is_large_jpeg(images, int(i), side)]
    if len(large) < SCALED_DECODING_IMAGES:
        return None
    full = embed(network, pixels(images, large, spec.model_copy(update={"scaled_jpeg_decoding": False})))
    scaled = embed(network, pixels(images, large, spec.model_copy(update={"scaled_jpeg_decoding": True})))
    return Metric(
        value=float(_cosine(full.features, scaled.features).mean()),
        protocol=f"mean cosine of features, JPEG decoding at reduced scale against full; {len(large)} JPEGs with sides "
        f"of {side} pixels or more, fp32 encoder",
    )


def _cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    cosine: npt.NDArray[np.float64] = np.divide((x * y).sum(-1), norms, out=np.zeros_like(norms), where=norms > 0)
    return cosine


def _max_abs(reference: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """Largest difference, as a share of the reference's largest value."""
    return float(np.abs(reference - found).max() / max(float(np.abs(reference).max()), 1e-30))
