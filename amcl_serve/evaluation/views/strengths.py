"""What is done to a view and how strongly, by the poster's kinds a to e."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Strengths:
    """Of one of the two views; the defaults do nothing.

    crop: smallest share of the area, None for the centred square. jitter: strengths of brightness, contrast,
    saturation and hue, each drawn from 1 ± strength (hue: ± strength of a full turn), with probability jitter_p. The
    others are probabilities; solarisation inverts what is above one half.
    """

    crop: float | None = None
    flip_p: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_p: float = 0.0
    grey_p: float = 0.0
    blur_p: float = 0.0
    solarise_p: float = 0.0


def by_letters(kinds: str, crop_min_scale: float = 0.2, jitter_strength: float = 0.5) -> Strengths:
    """Of letters of: a crop, b blur, c colour dropping, d colour distortion, e flip.

    Probabilities and proportions of SimCLR's appendix A (Chen et al. 2020, arXiv 2002.05709). The crop has at least
    `crop_min_scale` of the area; a `jitter_strength` of 1 is SimCLR's, 0.5 what it takes for CIFAR.
    """
    spread = 0.8 * jitter_strength
    return Strengths(
        crop=crop_min_scale if "a" in kinds else None,
        blur_p=0.5 if "b" in kinds else 0.0,
        grey_p=0.2 if "c" in kinds else 0.0,
        jitter=(spread, spread, spread, min(0.5, 0.2 * jitter_strength)) if "d" in kinds else (0.0, 0.0, 0.0, 0.0),
        jitter_p=0.8 if "d" in kinds else 0.0,
        flip_p=0.5 if "e" in kinds else 0.0,
    )
