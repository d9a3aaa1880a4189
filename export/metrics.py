"""What the card says a model is worth: nearest neighbours, and pairs of views against pairs of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from amcl_serve.bundle import Calibration, InputSpec, Metric, PairScore
from amcl_serve.encoder import Embeddings
from amcl_serve.evaluation.calibration import fit_calibration, probability, reliability
from amcl_serve.evaluation.head_score import WEIGHTINGS, Weighting, head_score, log_density
from amcl_serve.evaluation.knn import knn_accuracy
from amcl_serve.evaluation.pairs import auroc, separation
from amcl_serve.evaluation.risk_coverage import area_under_risk_coverage
from amcl_serve.pairs import PairScorer
from export.images import ImageSet, batches, reported_indices, upright_rgb
from export.networks import BATCH, Network
from training.augment import views

PAIRS = 1000  # positives, and as many negatives, to fit; as many again to report
KNN_K = 20
KNN_TEMPERATURE = 0.1
_PRESET = "abcde"

_OF = {
    "untrained": "; weights of seed 0, never trained, batch norms at their initial statistics, features not whitened",
    "unwhitened": "; fp32, features not whitened",
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairReport:
    """How heads become a score, its calibration, and how well score and features separate pairs."""

    score: PairScore
    calibration: Calibration
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class _Pairs:
    """P positive pairs, then P negative ones: cosine of features [2P], of heads [2P, C], their temperatures [2P, C]."""

    features: Floats
    heads: Floats
    temperature: Floats

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        return np.arange(len(self.features)) < len(self.features) // 2

    def auroc(self, values: Floats) -> float:
        return auroc(values[self.positive], values[~self.positive])

    def score(self, rule: PairScore) -> Floats:
        return head_score(self.heads, self.temperature, rule.weighting, rule.weights)


def measure_pairs(
    network: Network,
    scorer: PairScorer,
    images: ImageSet,
    spec: InputSpec,
    *,
    precision: str,
    omega: tuple[float, float],
) -> PairReport:
    """Choose, fit and report the pair score on two augmented views of each of up to 2000 images.

    A positive pair is both views of one image, a negative one the first view of an image and the second of the next in
    a shuffled order. Half of the images choose the weighting of the heads by AUROC and fit the logistic regression, the
    other half report: all figures are of images that fitted nothing. `omega` are the (β, η) of training.
    """
    chosen = reported_indices(len(images), spec.size, seed=0)[: 2 * PAIRS]
    half = len(chosen) // 2
    fit, report = (_pairs(network, scorer, images, spec, part) for part in (chosen[:half], chosen[half : 2 * half]))
    rules = _rules(fit)
    rule = rules[max(rules, key=lambda name: fit.auroc(fit.score(rules[name])))]
    labels, score = report.positive, report.score(rule)
    slope, intercept = fit_calibration(fit.score(rule), fit.positive)
    chance = probability(score, slope=slope, intercept=intercept)
    found = reliability(chance, labels)
    protocol = (
        f"{half} positive pairs (two {_PRESET} views of one held-out image) and {half} negative pairs (views of "
        f"different images), {precision} encoder"
    )
    calibration = Calibration(
        slope=slope,
        intercept=intercept,
        protocol=f"logistic regression on the score, Platt's targets; fitted on {protocol}; reported on as many others",
        pairs=4 * half,
        auroc=report.auroc(score),
        accuracy=found.accuracy,
        brier=found.brier,
        expected_calibration_error=found.expected_calibration_error,
    )
    apart = separation(score[labels], score[~labels])
    metrics = {
        "pair_auroc": (apart.auroc, f"AUROC of the score, heads combined by {rule.weighting}"),
        "pair_auroc_features": (report.auroc(report.features), "AUROC of the features' cosine"),
        "pair_overlap": (apart.overlap, "shared area of the scores' 50-bin histograms"),
        "pair_positives_below_half": (apart.positives_below_half, "share of positive pairs whose score is under 0.5"),
        "pair_features_positive": (float(report.features[labels].mean()), "mean features' cosine of positive pairs"),
        "pair_features_negative": (float(report.features[~labels].mean()), "mean features' cosine of negative pairs"),
    }
    if report.heads.shape[1] > 1:
        metrics |= _of_heads(report, rules, omega)
        metrics |= _of_certainty(report, np.abs(score + intercept / slope), (chance >= 0.5) == labels)
    return PairReport(
        rule, calibration, {k: Metric(value=v, protocol=f"{of}; {protocol}") for k, (v, of) in metrics.items()}
    )


def _rules(fit: _Pairs) -> dict[Weighting, PairScore]:
    """The ways to combine the heads, with weights fitted where they have any; one where there is one head."""
    rules: dict[Weighting, PairScore] = {n: PairScore(weighting=n) for n in WEIGHTINGS if n != "weights"}
    if fit.heads.shape[1] == 1:
        return {"mean": rules["mean"]}
    from sklearn.linear_model import LogisticRegression

    (weights,) = LogisticRegression(C=1e3, max_iter=1000).fit(fit.heads, fit.positive).coef_.clip(0)
    if weights.any():
        rules["weights"] = PairScore(weighting="weights", weights=[round(float(w), 6) for w in weights / weights.sum()])
    return rules


def _of_heads(
    report: _Pairs, rules: Mapping[Weighting, PairScore], omega: tuple[float, float]
) -> dict[str, tuple[float, str]]:
    """What each way to combine the heads would give, and how much the heads are alike."""
    density = log_density(report.heads, report.temperature, beta=omega[0], eta=omega[1])
    found = {
        f"pair_auroc_{n}": (report.auroc(report.score(rule)), f"AUROC, heads combined by {n}")
        for n, rule in rules.items()
    }
    found["pair_auroc_density"] = (report.auroc(density), "AUROC of the joint log-density that training compares by")
    for kind, chosen in (("positives", report.positive), ("negatives", ~report.positive)):
        found[f"head_correlation_{kind}"] = (
            _correlation(report.heads[chosen]),
            f"mean Pearson correlation between two heads' similarities, within {kind}",
        )
    return found


def _of_certainty(report: _Pairs, margin: Floats, correct: npt.NDArray[np.bool_]) -> dict[str, tuple[float, str]]:
    """Areas under the risk-coverage curve of the verdict: what tells best which verdicts are wrong. Lower is better."""
    temperature = report.temperature.shape[1] / (1 / report.temperature).sum(axis=1)
    orders: Sequence[tuple[str, Floats, str]] = (
        ("margin", margin, "|score - threshold|"),
        ("disagreement", -report.heads.std(axis=1), "agreement of the heads (less their standard deviation)"),
        ("temperature", -temperature, "a low temperature (harmonic mean of the heads')"),
        ("margin_temperature", margin / temperature, "|score - threshold| over temperature"),
    )
    if np.ptp(report.temperature) == 0:
        orders = orders[:2]
    return {
        f"pair_aurc_{name}": (
            area_under_risk_coverage(order, correct),
            f"area under risk-coverage of the verdict, the surest by {what} first; lower is better",
        )
        for name, order, what in orders
    }


def _correlation(similarity_PC: Floats) -> float:
    """Mean of the off-diagonal of the correlation matrix."""
    matrix_CC = np.asarray(np.corrcoef(similarity_PC, rowvar=False))
    return float(matrix_CC[np.triu_indices(len(matrix_CC), 1)].mean())


def _pairs(network: Network, scorer: PairScorer, images: ImageSet, spec: InputSpec, indices: list[int]) -> _Pairs:
    sides: tuple[list[Embeddings], list[Embeddings]] = ([], [])
    for start in tqdm(range(0, len(indices), BATCH), desc="pairs", unit="batch", leave=False):
        block = [
            views(upright_rgb(images, index), preset=_PRESET, size=spec.size, seed=0, epoch=0, index=index)
            for index in indices[start : start + BATCH]
        ]
        for side, parts in enumerate(sides):
            parts.append(network(np.stack([pair[side] for pair in block])))
    first, second = (_concatenated(parts) for parts in sides)
    order = np.roll(np.arange(len(indices)), -1)
    found = [scorer.score(first, each) for each in (second, Embeddings(second.features[order], second.heads[order]))]
    features, heads, temperature = (
        np.concatenate([np.asarray(getattr(each, name), np.float64) for each in found])
        for name in ("feature_similarity", "head_similarity", "temperature")
    )
    return _Pairs(features, heads, temperature)


def measure_knn(
    networks: Mapping[str, Network], bank: ImageSet, queries: ImageSet, spec: InputSpec
) -> dict[str, Metric]:
    """`knn_<name>` of each network: k = 20 on the features, labelled `bank` against labelled `queries`.

    Each image is decoded once for all networks. `untrained` is that of `networks.untrained_network`,
    `unwhitened` the fp32 encoder without its last layer.
    """
    assert bank.labels is not None
    assert queries.labels is not None
    bank_features, query_features = (_features(networks, images, spec) for images in (bank, queries))
    protocol = (
        f"accuracy of kNN on features, k = {KNN_K}, cosine, votes exp(s / {KNN_TEMPERATURE}); "
        f"bank {len(bank)} training images, {len(queries)} held-out queries, {len(set(bank.labels))} classes"
    )
    found = {}
    for name in networks:
        accuracy = knn_accuracy(
            bank_features[name],
            bank.labels,
            query_features[name],
            queries.labels,
            k=min(KNN_K, len(bank)),
            temperature=KNN_TEMPERATURE,
        )
        found[f"knn_{name}"] = Metric(value=accuracy, protocol=protocol + _OF.get(name, ""))
    return found


def _features(networks: Mapping[str, Network], images: ImageSet, spec: InputSpec) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    with tqdm(total=len(images), desc="kNN", unit="image", leave=False) as progress:
        for block in batches(images, spec):
            for name, network in networks.items():
                parts[name].append(network(block).features)
            progress.update(len(block))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _concatenated(parts: list[Embeddings]) -> Embeddings:
    return Embeddings(np.concatenate([p.features for p in parts]), np.concatenate([p.heads for p in parts]))
