"""What the card says a model is worth: nearest neighbours, and pairs of views against pairs of images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from amcl_serve.evaluation.views import views
from amcl_serve.metrics.knn import TEMPERATURE, knn_accuracy
from amcl_serve.model.bundle import InputSpec, Metric
from amcl_serve.model.encoder import Embeddings
from amcl_serve.model.pair_scorer import PairScorer
from export.images import ImageSet, batches, reported_indices, upright_rgb
from export.networks import BATCH, Network
from export.pairs import PairReport, Pairs, judge

PAIRS = 1000  # positives, and as many negatives, to fit; as many again to report
KNN_K = 20
_PRESET = "abcde"

_OF = {
    "untrained": "; weights of seed 0, never trained, batch norms at initial statistics, whitened like the others",
    "unwhitened": "; fp32, features not whitened",
}


def measure_pairs(
    network: Network,
    scorer: PairScorer,
    images: ImageSet,
    spec: InputSpec,
    *,
    precision: str,
    omega: tuple[float, float],
    count: int = PAIRS,
) -> PairReport:
    """Judge the pair score on two augmented views of each of up to 2 · `count` images, half to fit and half to report.

    A positive pair is both views of one image, a negative one the first view of an image and the second of the next in
    a shuffled order. `omega` are the (β, η) of training.
    """
    chosen = reported_indices(len(images), spec.size, seed=0)[: 2 * count]
    half = len(chosen) // 2
    fit, report = (_pairs(network, scorer, images, spec, part) for part in (chosen[:half], chosen[half : 2 * half]))
    protocol = (
        f"{half} positive pairs (two {_PRESET} views of one held-out image) and {half} negative pairs (views of "
        f"different images), {precision} encoder"
    )
    return judge(fit, report, protocol=protocol, omega=omega)


def _pairs(network: Network, scorer: PairScorer, images: ImageSet, spec: InputSpec, indices: list[int]) -> Pairs:
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
        np.concatenate([_rows(getattr(each, name), len(indices)) for each in found])
        for name in ("feature_similarity", "head_similarity", "temperature")
    )
    return Pairs(features, heads, temperature)


def _rows(values: np.ndarray | None, count: int) -> np.ndarray:
    """`values`, a row a pair; of heads that there are not, rows of nothing."""
    return np.empty((count, 0)) if values is None else np.asarray(values, np.float64)


def measure_knn(
    networks: Mapping[str, Network], bank: ImageSet, queries: ImageSet, spec: InputSpec
) -> dict[str, Metric]:
    """`knn_<name>` of each network: k = 20 on the features, labelled `bank` against labelled `queries`.

    Each image is decoded once for all networks. `untrained` is `networks.untrained`, whitened like the
    others; `unwhitened` the fp32 encoder without its last layer.
    """
    assert bank.labels is not None
    assert queries.labels is not None
    bank_features, query_features = (_features(networks, images, spec) for images in (bank, queries))
    protocol = (
        f"accuracy of kNN on features, k = {KNN_K}, cosine, votes exp(s / {TEMPERATURE}); "
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
