"""What pairs of views say of a model: the weighting of its heads that is best, calibration, what tells its errors.

Legend: P positive pairs and as many negative ones, C heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.calibration import fit_calibration, probability, reliability
from amcl_serve.metrics.head_score import WEIGHTINGS, Weighting, head_score, log_density, mean_correlation
from amcl_serve.metrics.risk_coverage import area_under_risk_coverage
from amcl_serve.metrics.separation import auroc, separation
from amcl_serve.model.bundle import Calibration, Metric, PairScore

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairReport:
    """How heads become a score, its calibration and that of the features' cosine, and how well both separate pairs.

    `feature_calibration` is None where there are no heads: the score is that cosine.
    """

    score: PairScore
    calibration: Calibration
    feature_calibration: Calibration | None
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Pairs:
    """P positive pairs, then P negative ones: cosine of features [2P], of heads [2P, C], their temperatures [2P, C].

    C may be 0.
    """

    features: Floats
    heads: Floats
    temperature: Floats

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Which pairs are positive [2P]."""
        return np.arange(len(self.features)) < len(self.features) // 2

    def auroc(self, values: Floats) -> float:
        """Of `values` [2P], positive pairs against negative ones."""
        return auroc(values[self.positive], values[~self.positive])

    def score(self, rule: PairScore) -> Floats:
        """The pair score [2P] that `rule` gives; that of features where there are no heads."""
        if not self.heads.shape[1]:
            return self.features
        return head_score(self.heads, self.temperature, rule.weighting, rule.weights)


def judge(fit: Pairs, report: Pairs, *, protocol: str, omega: tuple[float, float]) -> PairReport:
    """Choose the weighting of the heads, if there are any, and fit the calibration on `fit`; report on `report`.

    The weighting is that of the highest AUROC. `protocol` says what pairs these are, `omega` are the training's (β, η).
    ValueError where scores are all the same.
    """
    rules = _rules(fit)
    rule = rules[max(rules, key=lambda name: fit.auroc(fit.score(rules[name])))]
    labels, score = report.positive, report.score(rule)
    calibration, chance = _calibrated("the score", fit.score(rule), score, fit, report, protocol)
    of_features = None
    if report.heads.shape[1]:
        of_features, _ = _calibrated("the features' cosine", fit.features, report.features, fit, report, protocol)
    how = f"heads combined by {rule.weighting}" if report.heads.shape[1] else "the features' cosine"
    apart = separation(score[labels], score[~labels])
    metrics = {
        "pair_auroc": (apart.auroc, f"AUROC of the score, {how}"),
        "pair_auroc_features": (report.auroc(report.features), "AUROC of the features' cosine"),
        "pair_overlap": (apart.overlap, "shared area of the scores' 50-bin histograms"),
        "pair_positives_below_half": (apart.positives_below_half, "share of positive pairs whose score is under 0.5"),
        "pair_features_positive": (float(report.features[labels].mean()), "mean features' cosine of positive pairs"),
        "pair_features_negative": (float(report.features[~labels].mean()), "mean features' cosine of negative pairs"),
    }
    if report.heads.shape[1] > 1:
        metrics |= _of_heads(report, rules, omega)
    margin = np.abs(score + calibration.intercept / calibration.slope)
    metrics |= _of_certainty(report, margin, (chance >= 0.5) == labels)
    said = {k: Metric(value=v, protocol=f"{of}; {protocol}") for k, (v, of) in metrics.items()}
    return PairReport(rule, calibration, of_features, said)


def _calibrated(
    what: str, fitted: Floats, reported: Floats, fit: Pairs, report: Pairs, protocol: str
) -> tuple[Calibration, Floats]:
    """The calibration of scores [2P] of `fit`, judged by those of `report`, and these ones' probabilities [2P]."""
    slope, intercept = fit_calibration(fitted, fit.positive)
    chance = probability(reported, slope=slope, intercept=intercept)
    found = reliability(chance, report.positive)
    calibration = Calibration(
        slope=slope,
        intercept=intercept,
        protocol=f"logistic regression on {what}, Platt's targets; fitted on {protocol}; reported on as many others",
        pairs=len(fitted) + len(reported),
        auroc=report.auroc(reported),
        accuracy=found.accuracy,
        brier=found.brier,
        expected_calibration_error=found.expected_calibration_error,
    )
    return calibration, chance


def _rules(fit: Pairs) -> dict[Weighting, PairScore]:
    """The ways to combine the heads, with weights fitted where they have any; one where there is one head."""
    rules: dict[Weighting, PairScore] = {n: PairScore(weighting=n) for n in WEIGHTINGS if n != "weights"}
    if not fit.heads.shape[1]:
        return {"inverse_variance": PairScore()}  # the card's default, which says nothing there
    if fit.heads.shape[1] == 1:
        return {"mean": rules["mean"]}
    from sklearn.linear_model import LogisticRegression

    (weights,) = LogisticRegression(C=1e3, max_iter=1000).fit(fit.heads, fit.positive).coef_.clip(0)
    if weights.any():
        rules["weights"] = PairScore(weighting="weights", weights=[round(float(w), 6) for w in weights / weights.sum()])
    return rules


def _of_heads(
    report: Pairs, rules: Mapping[Weighting, PairScore], omega: tuple[float, float]
) -> dict[str, tuple[float, str]]:
    """What each way to combine the heads would give, and how much the heads are alike."""
    density = log_density(report.heads, report.temperature, beta=omega[0], eta=omega[1])
    found = {
        f"pair_auroc_{n}": (report.auroc(report.score(rule)), f"AUROC, heads combined by {n}")
        for n, rule in rules.items()
    }
    found["pair_auroc_density"] = (
        report.auroc(density),
        "AUROC of the heads' joint log-density, which loss.heads=joint compares candidates by",
    )
    for kind, chosen in (("positives", report.positive), ("negatives", ~report.positive)):
        if np.ptp(report.heads[chosen], axis=0).all():  # that of a constant is not defined
            found[f"head_correlation_{kind}"] = (
                mean_correlation(report.heads[chosen]),
                f"mean Pearson correlation between two heads' similarities, within {kind}",
            )
    return found


def _of_certainty(report: Pairs, margin: Floats, correct: npt.NDArray[np.bool_]) -> dict[str, tuple[float, str]]:
    """Areas under the risk-coverage curve of the verdict: what tells best which verdicts are wrong. Lower is better."""
    count = report.heads.shape[1]
    if not count:
        return {"pair_aurc_margin": _aurc(margin, correct, "|score - threshold|")}
    temperature = count / (1 / report.temperature).sum(axis=1)
    orders: Sequence[tuple[str, Floats, str]] = (
        ("margin", margin, "|score - threshold|"),
        ("disagreement", -report.heads.std(axis=1), "agreement of the heads (less their standard deviation)"),
        ("temperature", -temperature, "a low temperature (harmonic mean of the heads')"),
        ("margin_temperature", margin / temperature, "|score - threshold| over temperature"),
    )
    if np.ptp(report.temperature) == 0:
        orders = orders[:2]
    if count == 1:
        orders = [order for order in orders if order[0] != "disagreement"]
    return {f"pair_aurc_{name}": _aurc(order, correct, what) for name, order, what in orders}


def _aurc(order: Floats, correct: npt.NDArray[np.bool_], what: str) -> tuple[float, str]:
    return (
        area_under_risk_coverage(order, correct),
        f"area under risk-coverage of the verdict, the surest by {what} first; lower is better",
    )
