"""What a report measures of one network: its features by labels, where there are any, and what needs none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError
from amcl_serve.metrics import label_free as metrics
from amcl_serve.metrics.knn import knn_accuracy
from amcl_serve.metrics.label_free import LabelFree
from amcl_serve.metrics.linear_probe import LinearProbe, linear_probe
from amcl_serve.metrics.retrieval import Retrieval, retrieval
from training.data import Labelled, Subset
from training.judging import inference
from training.judging.label_free import label_free
from training.judging.pairs import Pairs, PairScores, measure_pairs
from training.report.runs import Run

PRESETS = ("a", "abc", "abcde")  # the poster's
KNN = (1, 5, 20, 200)
RECALL = (1, 5, 10)
KNN_TEMPERATURE = 0.1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """The backbone's features of labelled images, frozen."""

    knn: dict[int, float]  # k -> accuracy
    linear_probe: LinearProbe
    retrieval: Retrieval
    bank: int  # images that could be read
    queries: int


@dataclass(frozen=True)
class Measures:
    """Of one network; `quality` where images are labelled, `pairs` by preset."""

    quality: Quality | None
    label_free: LabelFree
    pairs: Mapping[str, Pairs]


def measure_network(run: Run, queries: Subset, labelled: Labelled | None, chosen: list[int], seed: int) -> Measures:
    """All measurements of the run's network; `labelled` has the same `queries`, of which `chosen` are in pairs.

    ValueError if features are unfit, or images too few.
    """
    features, read = inference.features(run.model.backbone, queries, run.config, run.device)
    presets = dict.fromkeys((*metrics.PRESETS, *PRESETS))
    subset = Subset(queries.images, np.array(chosen, np.int64))
    pairs = measure_pairs(run.model, subset, list(presets), run.config, run.device, seed=seed)
    judged = label_free(features[read], {preset: pairs[preset] for preset in metrics.PRESETS})
    quality = None if labelled is None else _quality(run, labelled, features, read, seed)
    return Measures(quality, judged, {preset: pairs[preset] for preset in PRESETS})


def _quality(
    run: Run, labelled: Labelled, features: npt.NDArray[np.float32], read: npt.NDArray[np.bool_], seed: int
) -> Quality:
    """kNN, linear probe and retrieval; `features` are those of the queries, of which `read` could be read."""
    bank, bank_read = inference.features(run.model.backbone, labelled.bank, run.config, run.device)
    bank, queries = bank[bank_read], features[read]
    data = (bank, labelled.bank.labels[bank_read], queries, labelled.queries.labels[read])
    return Quality(
        knn=knn_accuracy(*data, k=[k for k in KNN if k <= len(bank)], temperature=KNN_TEMPERATURE),
        linear_probe=linear_probe(*data, seed=seed),
        retrieval=retrieval(*data, k=[k for k in RECALL if k <= len(bank)]),
        bank=len(bank),
        queries=len(queries),
    )


def pair_images(queries: Subset, count: int, seed: int) -> list[int]:
    """Numbers of `count` readable query images (fewer where there are fewer), drawn by `seed`."""
    chosen: list[int] = []
    for index in np.random.default_rng(seed).permutation(queries.indices):
        if len(chosen) == count:
            break
        try:
            queries.images.load(int(index))
        except (OSError, AmclError):
            continue
        chosen.append(int(index))
    if len(chosen) < 2:
        raise ValueError("pairs need at least two images that can be read")
    return chosen


def head_agreement(scores: PairScores) -> Floats:
    """Pearson correlation [C, C] between the heads' similarities over pairs; NaN for a head that is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(scores.heads, rowvar=False))
