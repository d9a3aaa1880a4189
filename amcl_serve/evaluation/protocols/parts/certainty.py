"""What the probability of a pair is worth, and what tells which verdicts are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.protocols.pair_sets import PairSet
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part
from amcl_serve.evaluation.result import Figure, Plot, Series
from amcl_serve.metrics.bootstrap import Counts
from amcl_serve.metrics.calibration import Reliability, fit_calibration, probability, reliability
from amcl_serve.metrics.risk_coverage import area_under_risk_coverage, risk_at_coverage

Floats = npt.NDArray[np.float64]
_POINTS = 200


def calibration(fit: PairSet, report: PairSet, *, prefix: str, protocol: str) -> Part:
    """Reliability on `report` of the probability that is served, and of one that is fitted on `fit`."""
    part = Part(f"{prefix}_calibration", "Calibration")
    fitted = fitted_probability(fit, report)
    chances = {"served": (report.scored.probability, "the probability that is served")}
    chances["fitted"] = (fitted, "logistic regression on the score, fitted on the other half of the pairs")
    curves = []
    for name, (chance, what) in chances.items():
        if chance is None:
            why = "the model is not calibrated" if name == "served" else "all scores are the same"
            for kind, title in (("ece", "Calibration error"), ("brier", "Brier score")):
                said = f"not measured: {why}"
                part.items.append(Figure(f"{prefix}_{kind}_{name}", f"{title}, {name}", None, 0, said, better="lower"))
            continue
        found = reliability(chance, report.same)
        ece = f"expected calibration error of {what}, 10 bins; {protocol}"
        part.items += [
            Figure(
                f"{prefix}_ece_{name}",
                f"Calibration error, {name}",
                found.expected_calibration_error,
                len(report),
                ece,
                better="lower",
            ),
            Estimate(
                name=f"{prefix}_brier_{name}",
                title=f"Brier score, {name}",
                protocol=f"mean squared error of {what}; {protocol}",
                n=len(report),
                statistic=partial(_mean, report, (chance - report.same) ** 2),
                resampling=report.resampling,
                units=report.units,
                how=report.drawn,
                better="lower",
            ),
        ]
        curves.append(_curve(name, found))
    if curves:
        part.plots.append(
            Plot(
                f"{prefix}_reliability",
                "Reliability",
                "points",
                "probability",
                "share of pairs that are the same",
                curves,
                diagonal=True,
            )
        )
    part.notes.append(
        "Half of these pairs are the same. Where fewer are among yours, the probability is too high: it knows no prior "
        "but this one."
    )
    return part


def fitted_probability(fit: PairSet, report: PairSet) -> Floats | None:
    """Of `report` [P], by a calibration of `fit`; None where its scores are all the same."""
    try:
        slope, intercept = fit_calibration(fit.scored.score, fit.same)
    except ValueError:
        return None
    return probability(report.scored.score, slope=slope, intercept=intercept)


def _curve(name: str, found: Reliability) -> Series:
    filled = found.bin_count > 0
    return Series(name, found.bin_confidence[filled].tolist(), found.bin_frequency[filled].tolist())


def _mean(pairs: PairSet, values: Floats, counts: Counts) -> float:
    weights = pairs.weights(counts)
    return float(weights @ values / weights.sum())


def uncertainty(fit: PairSet, report: PairSet, *, prefix: str, protocol: str) -> Part:
    """How the share of wrong verdicts falls when the least certain are left out, by what certainty is read from."""
    part = Part(f"{prefix}_uncertainty", "Uncertainty")
    try:
        slope, intercept = fit_calibration(fit.scored.score, fit.same)
    except ValueError:
        slope = math.nan
    if not slope > 0:
        part.missing = "the score does not rise with what is the same: there is no threshold"
        return part
    chance = probability(report.scored.score, slope=slope, intercept=intercept)
    correct = (chance >= 0.5) == report.same
    lines = []
    for name, certainty, what in _orders(report, np.abs(report.scored.score + intercept / slope)):
        said = (
            f"area under risk-coverage of the verdict, the surest by {what} first; the threshold is that of the other "
            f"half; {protocol}"
        )
        area = area_under_risk_coverage(certainty, correct)
        part.items.append(Figure(f"{prefix}_aurc_{name}", f"AURC by {what}", area, len(report), said, better="lower"))
        risk = risk_at_coverage(certainty, correct)
        at = np.unique(np.linspace(0, len(risk) - 1, _POINTS).astype(int))
        lines.append(Series(what, ((at + 1) / len(risk)).tolist(), risk[at].tolist()))
    part.plots.append(
        Plot(f"{prefix}_risk_coverage", "Risk by coverage", "lines", "share of verdicts kept", "wrong", lines)
    )
    part.notes.append(
        f"{100 * float(np.mean(~correct)):.2f} % of all verdicts are wrong at the threshold of the other half."
    )
    return part


def _orders(report: PairSet, margin: Floats) -> Sequence[tuple[str, Floats, str]]:
    found = [("margin", margin, "|score − threshold|")]
    heads, temperature = report.scored.heads, report.scored.temperature
    if heads is not None and heads.shape[1] > 1:
        found.append(("disagreement", -heads.std(axis=1), "agreement of the heads"))
    if temperature is not None and temperature.size and np.ptp(temperature) > 0:
        found.append(("temperature", -temperature.shape[1] / (1 / temperature).sum(axis=1), "a low temperature"))
    return found
