"""Pairs that show the same against pairs that do not: histograms, ROC, thresholds chosen on one half of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.protocols.cases import SHOWN
from amcl_serve.evaluation.protocols.pair_sets import PairSet
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part
from amcl_serve.evaluation.result import Case, Figure, Plot, Series, Table, defined
from amcl_serve.metrics.bootstrap import Counts
from amcl_serve.metrics.operating import (
    EXPECTED_FALSE_ACCEPTS,
    Curve,
    Scores,
    errors_at,
    supported,
    threshold_by_cost,
    threshold_by_rate,
    wilson,
)
from amcl_serve.metrics.separation import separation

RATES = (0.1, 0.01, 0.001, 0.0001)
COSTS = ((1.0, 1.0), (10.0, 1.0), (1.0, 10.0))  # of a false accept and of a false reject
_POINTS = 400  # of a curve that is drawn


def pairs(fit: PairSet, report: PairSet, *, name: str, title: str, prefix: str, protocol: str) -> Part:
    """Judge `report`; thresholds are chosen on `fit`. `prefix` begins figures' names, `protocol` says what pairs."""
    part = Part(name, title)
    values = {
        "": (report.scored.score, "the pair score"),
        "_features": (report.scored.features, "the features' cosine"),
    }
    for suffix, (compared, what) in values.items():
        statistic = partial(_area, report, report.scores(compared))
        part.items.append(
            _estimate(report, f"{prefix}_auroc{suffix}", f"AUROC of {what}", f"AUROC of {what}; {protocol}", statistic)
        )
    scores = report.scores()
    curve = scores.curve()
    part.items.append(
        _estimate(
            report,
            f"{prefix}_eer",
            "Equal error rate",
            f"share of errors where both kinds are equally frequent; {protocol}",
            partial(_eer, report, scores),
            better="lower",
        )
    )
    negatives = int((~report.same).sum())
    for rate in RATES:
        part.items.append(_true_accepts(report, scores, rate, negatives, prefix, protocol))
    apart = separation(report.scored.score[report.same], report.scored.score[~report.same])
    for each, title_, value, better in (
        ("overlap", "Overlap of the histograms", apart.overlap, "lower"),
        ("positives_below_half", "Positives under 0.5", apart.positives_below_half, "lower"),
    ):
        said = f"{title_.lower()} of the score, 50 bins; {protocol}" if each == "overlap" else f"share; {protocol}"
        part.items.append(
            Figure(f"{prefix}_{each}", title_, float(value), len(report), said, better=better, percent=True)  # type: ignore[arg-type]
        )
    part.plots += [_histogram(report, prefix, values[key][0], values[key][1], key) for key in values]
    part.plots += _curves(prefix, curve, report.scores(report.scored.features).curve())
    part.tables.append(thresholds(fit, report))
    part.cases += worst(report)
    return part


def _estimate(report: PairSet, name: str, title: str, protocol: str, statistic, **change) -> Estimate:  # type: ignore[no-untyped-def]
    return Estimate(
        name=name,
        title=title,
        protocol=protocol,
        n=len(report),
        statistic=statistic,
        resampling=report.resampling,
        units=report.units,
        how=report.drawn,
        percent=True,
        **change,
    )


def _area(pairs_: PairSet, scores: Scores, counts: Counts) -> float:
    return scores.curve(pairs_.weights(counts)).area


def _eer(pairs_: PairSet, scores: Scores, counts: Counts) -> float:
    return scores.curve(pairs_.weights(counts)).equal_error_rate


def _accepts(pairs_: PairSet, scores: Scores, rate: float, counts: Counts) -> float:
    return scores.curve(pairs_.weights(counts)).true_accepts_at(rate)


def _true_accepts(
    report: PairSet, scores: Scores, rate: float, negatives: int, prefix: str, protocol: str
) -> Figure | Estimate:
    name, title = f"{prefix}_tar_at_far_{rate:g}", f"True accepts at {100 * rate:g} % false accepts"
    if not supported(rate, negatives):
        why = (
            f"not measured: {negatives} negative pairs give {rate * negatives:g} false accepts on average at this "
            f"rate, {EXPECTED_FALSE_ACCEPTS} or more are needed"
        )
        return Figure(name, title, None, negatives, why, percent=True)
    said = f"share of positives accepted where at most {rate:g} of the negatives are; {protocol}"
    return _estimate(report, name, title, said, partial(_accepts, report, scores, rate))


def thresholds(fit: PairSet, report: PairSet) -> Table:
    """Thresholds by false-accept rate and by cost, chosen on `fit`, and the errors they make on `report`."""
    rows: list[list[str | float | int | None]] = []
    negatives = int((~fit.same).sum())
    chosen = [
        (f"false accepts at most {rate:g}", rate, threshold_by_rate(fit.scored.score, fit.same, rate))
        for rate in RATES
        if supported(rate, negatives)
    ]
    for accept, reject in COSTS:
        threshold = threshold_by_cost(fit.scored.score, fit.same, false_accept=accept, false_reject=reject)
        chosen.append((f"least cost, a false accept {accept:g}, a false reject {reject:g}", None, threshold))  # type: ignore[arg-type]
    for rule, promised, threshold in chosen:
        errors = errors_at(threshold, report.scored.score, report.same)
        low, high = wilson(errors.false_accepts, errors.negatives)
        rows.append(
            [
                rule,
                defined(threshold),
                promised,
                errors.false_accepts / errors.negatives,
                low,
                high,
                errors.false_rejects / errors.positives,
            ]
        )
    columns = ("rule", "threshold", "promised", "false accepts", "from", "to", "false rejects")
    return Table("Thresholds, chosen on one half of the pairs and reported on the other", columns, rows)


def _histogram(pairs_: PairSet, prefix: str, values: npt.NDArray[np.float64], what: str, suffix: str) -> Plot:
    found = separation(values[pairs_.same], values[~pairs_.same])
    edges = found.edges.tolist()
    series = [
        Series(label, edges, (counts / counts.sum()).tolist())
        for label, counts in (("same", found.positive_counts), ("different", found.negative_counts))
    ]
    return Plot(f"{prefix}_histogram{suffix}", f"Pairs by {what}", "steps", what, "share of pairs", series)


def _curves(prefix: str, score: Curve, features: Curve) -> list[Plot]:
    both = (("pair score", _thinned(score)), ("features' cosine", _thinned(features)))
    roc = [Series(label, curve[0], curve[1]) for label, curve in both]
    det = [
        Series(label, [x for x, _ in rows], [1 - y for _, y in rows])
        for label, curve in both
        for rows in [[(x, y) for x, y in zip(*curve, strict=True) if x > 0]]
    ]
    return [
        Plot(f"{prefix}_roc", "ROC", "lines", "false accepts", "true accepts", roc, diagonal=True),
        Plot(f"{prefix}_det", "Detection error tradeoff", "lines", "false accepts", "false rejects", det, log_x=True),
    ]


def _thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """The corners of the curve, at most so many, dense where few are accepted."""
    count = len(curve.thresholds)
    if count > _POINTS:
        chosen = np.unique(np.concatenate([np.geomspace(1, count, _POINTS).astype(int) - 1, [count - 1]]))
    else:
        chosen = np.arange(count)
    return curve.false_accepts[chosen].tolist(), curve.true_accepts[chosen].tolist()


def worst(pairs_: PairSet) -> list[Case]:
    """The positive pairs of the lowest score and the negative ones of the highest."""
    cases = []
    for title, those, sign in (("same, scored low", pairs_.same, 1), ("different, scored high", ~pairs_.same, -1)):
        rows = np.flatnonzero(those)
        for pair in rows[np.argsort(sign * pairs_.scored.score[rows], kind="stable")][:SHOWN]:
            names, thumbnails = pairs_.pictures(int(pair))
            cases.append(Case(title, names, thumbnails, float(pairs_.scored.score[pair])))
    return cases
