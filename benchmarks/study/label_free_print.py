"""The tables of `label_free.py`: its networks, and the rank correlation of each figure with kNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from amcl_serve.evaluation.label_free import PRESETS

DRAWS = 10_000  # of the bootstrap
KNN = "knn_20"
_SINGLE = (
    "rankme",
    "alpha_req",
    "distance_of_alpha_req_from_1",
    "alignment",
    "uniformity",
    "calibration_error",
    "brier",
)
_LOW = {"distance_of_alpha_req_from_1", "alignment", "uniformity", "calibration_error", "brier"}  # is said to be better
METRICS = (*(f"pair_auroc_{p}" for p in PRESETS), *(f"pair_auroc_features_{p}" for p in PRESETS), *_SINGLE)
_SHOWN = ("pair_auroc_abcde", "pair_auroc_features_abcde", "rankme", "alpha_req", "alignment", "uniformity",
          "calibration_error", "brier")  # fmt: skip

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
    """Spearman's ρ of each metric with kNN, over all networks and over those that beat their untrained backbone."""
    trained = [line for line in lines if not line["untrained"]]
    floor = {line["width"]: line[KNN] for line in lines if line["untrained"]}
    learnt = [line for line in trained if line[KNN] > floor.get(line["width"], 0)]
    rows = [["figure", "better is", f"all, n = {len(trained)}", f"better than untrained, n = {len(learnt)}"]]
    found = []
    for name in METRICS:
        cells = [spearman(*_columns(part, name)) for part in (trained, learnt)]
        found.append((cells[0][0], [name, "low" if name in _LOW else "–" if name == "alpha_req" else "high",
                                    *(_interval(*cell) for cell in cells)]))  # fmt: skip
    found.sort(key=lambda pair: -abs(pair[0]) if np.isfinite(pair[0]) else 1)
    return _table(rows + [row for _, row in found])


def spearman(x: Floats, y: Floats, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Rank correlation, and its 95 % interval by bootstrap over the networks; NaN with fewer than three."""
    if len(x) < 3:
        return (np.nan, np.nan, np.nan)
    chosen = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _rank_correlation(x[chosen], y[chosen])
        low, high = np.nanpercentile(found, [2.5, 97.5])
        return float(_rank_correlation(x[None], y[None])[0]), float(low), float(high)


def _rank_correlation(x_BN: Floats, y_BN: Floats) -> Floats:
    x, y = (rankdata(each, axis=1) for each in (x_BN, y_BN))
    x, y = (each - each.mean(axis=1, keepdims=True) for each in (x, y))
    return np.asarray((x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))


def _columns(lines: Sequence[Line], name: str) -> tuple[Floats, Floats]:
    """The metric and kNN of the networks that have it."""
    pairs = [(value, line[KNN]) for line in lines if (value := _value(line["label_free"], name)) is not None]
    both = np.array(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _value(found: dict[str, float], name: str) -> float | None:
    if name == "distance_of_alpha_req_from_1":
        return abs(found["alpha_req"] - 1) if "alpha_req" in found else None
    return found.get(name)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}".replace("-", "−")


def _interval(value: float, low: float, high: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f} ({low:+.2f} to {high:+.2f})".replace("-", "−")


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
