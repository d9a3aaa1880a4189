"""What the card says a model is worth: nearest neighbours, and pairs of views against pairs of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from amcl_serve.bundle import Calibration, InputSpec, Metric
from amcl_serve.encoder import Embeddings
from amcl_serve.evaluation.calibration import fit_calibration, probability, reliability
from amcl_serve.evaluation.knn import knn_accuracy
from amcl_serve.evaluation.pairs import auroc, separation
from amcl_serve.pairs import PairScorer
from export.images import ImageSet, batches, reported_indices, upright_rgb
from export.networks import BATCH, Network
from training.augment import views

PAIRS = 500  # positives, and as many negatives, to fit; as many again to report
KNN_K = 20
KNN_TEMPERATURE = 0.1
_PRESET = "abcde"


@dataclass(frozen=True)
class PairReport:
    """Calibration of the pair score, and how well score and features separate pairs."""

    calibration: Calibration
    metrics: dict[str, Metric]


def measure_pairs(
    network: Network, scorer: PairScorer, images: ImageSet, spec: InputSpec, *, precision: str
) -> PairReport:
    """Fit and report the pair probability on two augmented views of each of up to 1000 images.

    A positive pair is both views of one image, a negative one the first view of an image and the second of the next in
    a shuffled order. Half of the images fit the logistic regression, the other half report: AUROC and all other figures
    are of images that fitted nothing.
    """
    chosen = reported_indices(len(images), spec.size, seed=0)[: 2 * PAIRS]
    half = len(chosen) // 2
    chosen = chosen[: 2 * half]
    fit, report = (_pair_scores(network, scorer, images, spec, part) for part in (chosen[:half], chosen[half:]))
    labels = np.arange(2 * half) < half
    slope, intercept = fit_calibration(np.concatenate(fit.score), labels)
    found = reliability(probability(np.concatenate(report.score), slope=slope, intercept=intercept), labels)
    apart = separation(*report.score)
    protocol = (
        f"{half} positive pairs (two {_PRESET} views of one held-out image) and {half} negative pairs (views of "
        f"different images), {precision} encoder"
    )
    calibration = Calibration(
        slope=slope,
        intercept=intercept,
        protocol=f"logistic regression on the score, Platt's targets; fitted on {protocol}; reported on as many others",
        pairs=4 * half,
        auroc=apart.auroc,
        accuracy=found.accuracy,
        brier=found.brier,
        expected_calibration_error=found.expected_calibration_error,
    )
    metrics = {
        "pair_auroc": Metric(value=apart.auroc, protocol=f"AUROC of the score; {protocol}"),
        "pair_auroc_features": Metric(
            value=auroc(*report.features), protocol=f"AUROC of the features' cosine; {protocol}"
        ),
        "pair_overlap": Metric(
            value=apart.overlap, protocol=f"shared area of the scores' 50-bin histograms; {protocol}"
        ),
        "pair_positives_below_half": Metric(
            value=apart.positives_below_half, protocol=f"share of positive pairs whose score is under 0.5; {protocol}"
        ),
    }
    return PairReport(calibration, metrics)


@dataclass(frozen=True)
class _Scores:
    """(positive [P], negative [P]) of the pair score and of the features' cosine."""

    score: tuple[np.ndarray, np.ndarray]
    features: tuple[np.ndarray, np.ndarray]


def _pair_scores(
    network: Network, scorer: PairScorer, images: ImageSet, spec: InputSpec, indices: list[int]
) -> _Scores:
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
    positive = scorer.score(first, second)
    negative = scorer.score(first, Embeddings(second.features[order], second.heads[order]))
    return _Scores(
        score=(positive.score, negative.score), features=(positive.feature_similarity, negative.feature_similarity)
    )


def measure_knn(
    networks: Mapping[str, Network], bank: ImageSet, queries: ImageSet, spec: InputSpec
) -> dict[str, Metric]:
    """`knn_<name>` of each network: k = 20 on the features, labelled `bank` against labelled `queries`.

    Each image is decoded once for all networks. The one called `untrained` is that of `networks.untrained_network`.
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
        weights = "; weights of seed 0, never trained, batch norms at their initial statistics"
        found[f"knn_{name}"] = Metric(value=accuracy, protocol=protocol + (weights if name == "untrained" else ""))
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
