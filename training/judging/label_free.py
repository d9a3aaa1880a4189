"""A network judged without labels: its features of images, and its scores of pairs of their augmented views."""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt

from amcl_serve.metrics import label_free as metrics
from amcl_serve.metrics.label_free import LabelFree, ViewScores
from training.judging.pairs import Pairs


def label_free(features: npt.ArrayLike, pairs: Mapping[str, Pairs]) -> LabelFree:
    """`amcl_serve.metrics.label_free` of features [N, D] and the pairs that `measure_pairs` found, by preset."""
    views = {
        preset: ViewScores(each.positive.feature, each.negative.feature, each.positive.score, each.negative.score)
        for preset, each in pairs.items()
    }
    return metrics.label_free(features, views)


def in_words(found: LabelFree, floor: LabelFree) -> str:
    """The figures that say most, each with that of the untrained network in brackets."""
    return ", ".join(
        f"{name} {value:.{digits}f} (untrained {beside:.{digits}f})".replace("nan", "–")
        for name, value, beside, digits in (
            ("pair AUROC", found.pair_auroc["abcde"], floor.pair_auroc["abcde"], 3),
            ("RankMe", found.rankme, floor.rankme, 1),
            ("α-ReQ", found.alpha_req, floor.alpha_req, 2),
            ("alignment", found.alignment, floor.alignment, 3),
            ("uniformity", found.uniformity, floor.uniformity, 2),
            ("ECE", found.calibration_error, floor.calibration_error, 3),
            ("Brier", found.brier, floor.brier, 3),
        )
    )
