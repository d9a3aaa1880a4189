"""The tables of `label_free.py`: its networks, and the rank correlation of each figure with kNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from amcl_serve.metrics.label_free import PRESETS

DRAWS = 10_000  # of the bootstrap
KNN = "knn_20"
_SINGLE = ("rankme", "alpha_req", "alignment", "uniformity", "calibration_error", "brier")
_BETTER = {"alpha_req": "near 1"} | dict.fromkeys(("alignment", "uniformity", "calibration_error", "brier"), "low")
METRICS = (*(f"pair_auroc_{p}" for p in PRESETS), *(f"pair_auroc_features_{p}" for p in PRESETS), *_SINGLE)
_SHOWN = (
    "pair_auroc_a",
    "pair_auroc_abcde",
    "rankme",
    "alpha_req",
    "alignment",
    "uniformity",
    "calibration_error",
    "brier",
)

Line = dict[str, Any]
Floats = npt.NDArray[np.float64]


def render(lines: Sequence[Line]) -> str:
    """Both tables as Markdown."""
    return f"{networks(lines)}\n\n{correlations(lines)}"


def networks(lines: Sequence[Line]) -> str:
    """A row for each network, best kNN first."""
    rows = [["network", "kNN", *_SHOWN]]
    rows += [
        [line["name"], f"{100 * line[KNN]:.1f} %", *(_cell(line["label_free"].get(name)) for name in _SHOWN)]
        for line in sorted(lines, key=lambda line: -line[KNN])
    ]
    return _table(rows)


def correlations(lines: Sequence[Line]) -> str:
    """Spearman's ρ of each metric with kNN: over all networks, those that beat their untrained backbone, and those
    trained under the recipes' own kinds of augmentation.
    """
    trained = [line for line in lines if not line["untrained"]]
    floor = {line["width"]: line[KNN] for line in lines if line["untrained"]}
    parts = {
        "all": trained,
        "better than untrained": [line for line in trained if line[KNN] > floor.get(line["width"], 0)],
        "of one augmentation": [line for line in trained if not any("augment." in word for word in line["words"])],
    }
    rows = [["figure", "better is", *(f"{name}, n = {len(part)}" for name, part in parts.items())]]
    found = {name: [spearman(*_columns(part, name)) for part in parts.values()] for name in METRICS}
    rows += [
        [name, _BETTER.get(name, "high"), *(_interval(*cell) for cell in found[name])]
        for name in sorted(METRICS, key=lambda name: np.nan_to_num(-abs(found[name][0][0]), nan=1.0))
    ]
    return _table(rows)


def spearman(x: Floats, y: Floats, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Rank correlation, and its 95 % interval by bootstrap over the networks; NaN with fewer than three."""
    if len(x) < 3:
        return (np.nan, np.nan, np.nan)
    chosen = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _rank_correlation(x[chosen], y[chosen])
        low, high = np.nanpercentile(found, [2.5, 97.5]) if np.isfinite(found).any() else (np.nan, np.nan)
        return float(_rank_correlation(x[None], y[None])[0]), float(low), float(high)


def _rank_correlation(x_BN: Floats, y_BN: Floats) -> Floats:
    x, y = (rankdata(each, axis=1) for each in (x_BN, y_BN))
    x, y = (each - each.mean(axis=1, keepdims=True) for each in (x, y))
    return np.asarray((x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))


def _columns(lines: Sequence[Line], name: str) -> tuple[Floats, Floats]:
    """The metric and kNN of the networks that have it."""
    pairs = [(value, line[KNN]) for line in lines if (value := line["label_free"].get(name)) is not None]
    both = np.array(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}".replace("-", "−")


def _interval(value: float, low: float, high: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f} ({low:+.2f} to {high:+.2f})".replace("-", "−")


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
