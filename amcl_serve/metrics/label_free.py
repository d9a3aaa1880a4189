"""What can be said of an embedding without labels: from features of images, and from scores of pairs of their views.

Legend: N images, D dims, P images of which there are two views each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.calibration import fit_calibration, probability, reliability
from amcl_serve.metrics.checks import features_of
from amcl_serve.metrics.geometry import alpha_req, effective_rank, uniformity
from amcl_serve.metrics.separation import auroc

# Kinds of augmentation: a crop, b blur, c colour dropping, d colour distortion, e flip; each by itself, and all.
PRESETS = ("a", "b", "c", "d", "e", "abcde")
LEAST_IMAGES = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ViewScores:
    """One preset: P positive pairs, both views of an image, and P negative ones, its first and the next one's second.

    Cosines of features [P], and pair scores [P], which heads and temperatures give; None for a model without heads.
    """

    positive_features: Floats
    negative_features: Floats
    positive: Floats | None = None
    negative: Floats | None = None


@dataclass(frozen=True)
class LabelFree:
    """The figures, NaN where one is not defined. Where there are no heads, the features' cosine is the pair score."""

    images: int
    pairs: int  # positive ones, and as many negative ones
    pair_auroc: Mapping[str, float]  # by preset; of the pair score
    pair_auroc_features: Mapping[str, float]  # by preset; of the features' cosine
    rankme: float
    alpha_req: float
    alignment: float  # of the features, under all kinds
    uniformity: float
    calibration_error: float  # expected, of the probability fitted on one half of the pairs, on the other; all kinds
    brier: float

    def numbers(self) -> dict[str, float]:
        """All figures by name, such as `pair_auroc_abcde` and `rankme`; those that are NaN left out."""
        single = ("rankme", "alpha_req", "alignment", "uniformity", "calibration_error", "brier")
        found = {f"pair_auroc_{preset}": value for preset, value in self.pair_auroc.items()}
        found |= {f"pair_auroc_features_{preset}": value for preset, value in self.pair_auroc_features.items()}
        found |= {name: getattr(self, name) for name in single}
        return {name: value for name, value in found.items() if math.isfinite(value)}


def label_free(features: npt.ArrayLike, views: Mapping[str, ViewScores]) -> LabelFree:
    """Judge features [N, D] of unaugmented images and the pairs of `views`, which has every one of `PRESETS`.

    RankMe (Garrido et al. 2023), α-ReQ (Agrawal et al. 2022), alignment and uniformity (Wang & Isola 2020) of the
    features; AUROC of positive pairs against negative ones by preset; expected calibration error (10 bins) and Brier
    score of a logistic regression on the score, fitted on the pairs of the first half of the images and judged on
    those of the second, which share no image. Raises ValueError for fewer than `LEAST_IMAGES` images or pairs, for a
    preset that is missing, and for input that is not finite.
    """
    rows_ND = features_of(features, np.float64)
    if missing := [preset for preset in PRESETS if preset not in views]:
        raise ValueError(f"views under {', '.join(missing)} are missing")
    every = views[PRESETS[-1]]
    for count, what in ((len(rows_ND), "images"), (len(every.positive_features), "pairs of views")):
        if count < LEAST_IMAGES:
            raise ValueError(f"judging without labels needs {LEAST_IMAGES} images or more; there are {count} {what}")
    error, brier = _calibration(*_scores(every))
    return LabelFree(
        images=len(rows_ND),
        pairs=len(every.positive_features),
        pair_auroc={preset: auroc(*_scores(views[preset])) for preset in PRESETS},
        pair_auroc_features={
            preset: auroc(views[preset].positive_features, views[preset].negative_features) for preset in PRESETS
        },
        rankme=effective_rank(rows_ND),
        alpha_req=alpha_req(rows_ND),
        alignment=float(np.mean(2 - 2 * every.positive_features)),  # ‖a − b‖² of unit vectors
        uniformity=uniformity(rows_ND),
        calibration_error=error,
        brier=brier,
    )


def _scores(views: ViewScores) -> tuple[Floats, Floats]:
    if views.positive is None or views.negative is None:
        return views.positive_features, views.negative_features
    return views.positive, views.negative


def _calibration(positive_P: Floats, negative_P: Floats) -> tuple[float, float]:
    """(expected calibration error, Brier score); NaN where all scores are the same, of which nothing can be fitted."""
    half = len(positive_P) // 2
    # The last negative pair of each half reaches into the other half, and is left out.
    fit = (positive_P[:half], negative_P[: half - 1])
    judged = (positive_P[half:], negative_P[half:-1])
    try:
        slope, intercept = fit_calibration(np.concatenate(fit), _labels(*fit))
    except ValueError:
        return math.nan, math.nan
    found = reliability(probability(np.concatenate(judged), slope=slope, intercept=intercept), _labels(*judged))
    return found.expected_calibration_error, found.brier


def _labels(positive_P: Floats, negative_P: Floats) -> npt.NDArray[np.bool_]:
    return np.arange(len(positive_P) + len(negative_P)) < len(positive_P)
