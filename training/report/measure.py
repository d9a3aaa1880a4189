"""What a report measures of one network: its features by labels, where there are any, and what needs none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.protocols.parts.classes import Labels, neighbours_by_class, probe, ranked
from amcl_serve.evaluation.protocols.parts.part import Part
from amcl_serve.metrics import label_free as metrics
from amcl_serve.metrics.label_free import LabelFree
from training.data import Labelled, Subset
from training.judging import inference
from training.judging.label_free import label_free
from training.judging.pairs import Pairs, measure_pairs
from training.report.runs import Run

PRESETS = ("a", "abc", "abcde")  # the poster's
KNN = (1, 5, 20, 200)


@dataclass(frozen=True)
class Quality:
    """The backbone's features of labelled images, frozen: kNN, linear probe and retrieval, and of how many images."""

    parts: Sequence[Part]
    sizes: str


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
    given = Labels(
        features=np.concatenate([bank, queries]),
        labels=np.concatenate([labelled.bank.labels[bank_read], labelled.queries.labels[read]]),
        bank=np.arange(len(bank)),
        asking=np.arange(len(bank), len(bank) + len(queries)),
        seed=seed,
        held_out=True,
    )
    return Quality([neighbours_by_class(given, KNN), probe(given), ranked(given)], given.sizes)


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
