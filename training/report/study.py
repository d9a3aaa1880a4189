"""All measurements of a report, and their numbers as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data import Labelled
from training.report.measure import (
    KNN_TEMPERATURE,
    PRESETS,
    Pairs,
    Quality,
    head_agreement,
    measure_features,
    measure_pairs,
    pair_images,
)
from training.report.runs import Run, untrained

SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """One run beside the same network untrained; pairs by preset."""

    run: Run
    quality: Quality
    pairs: Mapping[str, Pairs]
    floor: Quality
    floor_pairs: Mapping[str, Pairs]


@dataclass(frozen=True)
class Study:
    """One run, or two: the one compared with comes first."""

    measured: Sequence[Measured]
    data: str
    classes: int
    pairs: int  # positive ones, and as many negative ones
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Every number of the report, with its protocol; NaN is null."""
        numbers: dict[str, Any] = _plain(
            {
                "schema": SCHEMA,
                "data": self.data,
                "classes": self.classes,
                "pairs": self.pairs,
                "seed": self.seed,
                "protocol": PROTOCOL,
                "runs": [_run_json(each, self.seed) for each in self.measured],
            }
        )
        return numbers


PROTOCOL = {
    "features": "backbone features of unaugmented images in float32; bank: training images, queries: held-out images",
    "knn": f"share of queries; cosine, votes exp(s / {KNN_TEMPERATURE})",
    "linear_probe": "top-1 accuracy on the queries of multinomial logistic regression on standardised features of the "
    "bank; its regularisation chosen on a tenth of the bank",
    "retrieval": "the bank sorted by cosine; recall at k: share of queries with an image of their class among the "
    "first k; mAP: mean of the average precision over the whole bank",
    "effective_rank": "RankMe: exp of the entropy of the singular values' shares, of the queries' features",
    "uniformity": "log of the mean of exp(-2 d^2) over pairs of queries, features of unit norm",
    "alignment": "mean of d^2 over the abcde views of the pair study, features of unit norm",
    "pairs": "positive: two augmented views of a query image; negative: views of two query images; kinds a crop, "
    "b blur, c colour dropping, d colour distortion, e flip",
    "score": "temperature-scaled head similarity: sum of s/tau over heads, divided by the sum of 1/tau",
    "logit": "mean of s/tau over heads",
    "feature": "cosine of backbone features",
    "overlap": "shared area of the two histograms, 50 bins between the lowest and the highest score",
    "auroc_interval": "95 %, bootstrap over images",
    "untrained": "the network of the same configuration, weights of seed 0, batch norms at their initial statistics",
}


def measure(
    runs: Sequence[Run],
    labelled: Labelled,
    *,
    data: str,
    pairs: int,
    seed: int,
    say: Callable[[str], None],
) -> Study:
    """Measure every run and its untrained twin; `say` hears what is being done. ValueError when something is unfit."""
    chosen = pair_images(labelled.queries, pairs, seed)
    floors: dict[tuple[Any, ...], tuple[Quality, dict[str, Pairs]]] = {}

    def measured(run: Run) -> tuple[Quality, dict[str, Pairs]]:
        say(f"{run.name}: features of {len(labelled.bank.indices)} + {len(labelled.queries.indices)} images")
        quality = measure_features(run, labelled, seed)
        say(f"{run.name}: {len(chosen)} + {len(chosen)} pairs under {', '.join(PRESETS)}")
        return quality, {p: measure_pairs(run, labelled.queries, chosen, p, seed) for p in PRESETS}

    found = []
    for run in runs:
        quality, studied = measured(run)
        twin = (run.config.backbone, run.config.data.image_size, run.config.data.mean, run.config.data.std)
        if twin not in floors:
            floors[twin] = measured(untrained(run))
        found.append(Measured(run, quality, studied, *floors[twin]))
    return Study(found, data, len(set(labelled.bank.labels)), len(chosen), seed)


def _run_json(measured: Measured, seed: int) -> dict[str, Any]:
    run = measured.run
    return {
        "name": run.name,
        "title": run.title,
        "recipe": run.config.recipe,
        "heads": run.config.heads.num,
        "temperature": "adaptive" if run.adaptive else "constant",
        "backbone": {"name": run.config.backbone.name, **dataclasses.asdict(run.config.backbone)},
        "image_size": run.config.data.image_size,
        "feature_dim": run.model.feature_dim,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "step": run.step,
        "features": _quality_json(measured.quality, measured.pairs),
        "untrained": {
            **_quality_json(measured.floor, measured.floor_pairs),
            "pairs": {preset: {"feature": _feature_json(p)} for preset, p in measured.floor_pairs.items()},
        },
        "pairs": {preset: _pairs_json(pairs, seed) for preset, pairs in measured.pairs.items()},
        "temperatures": {preset: _temperatures_json(pairs) for preset, pairs in measured.pairs.items()}
        if run.adaptive
        else None,
        "head_agreement": {
            kind: head_agreement(getattr(measured.pairs[PRESETS[-1]], kind)).tolist()
            for kind in ("positive", "negative")
        }
        if run.config.heads.num > 1
        else None,
        "curves": dict(run.curves),
    }


def _quality_json(quality: Quality, pairs: Mapping[str, Pairs]) -> dict[str, Any]:
    return {**dataclasses.asdict(quality), "alignment": pairs[PRESETS[-1]].alignment}


def _pairs_json(pairs: Pairs, seed: int) -> dict[str, Any]:
    return {
        name: {**dataclasses.asdict(apart), "auroc_interval": pairs.auroc_interval(name, seed)}
        for name, apart in pairs.separations().items()
    }


def _feature_json(pairs: Pairs) -> dict[str, float]:
    apart = pairs.separations()["feature"]
    return {
        "auroc": apart.auroc,
        "overlap": apart.overlap,
        "positives_below_half": apart.positives_below_half,
    }


def _temperatures_json(pairs: Pairs) -> dict[str, Any]:
    out = {}
    for kind in ("positive", "negative"):
        tau_PC = getattr(pairs, kind).temperature
        quantiles = np.percentile(tau_PC, [5, 25, 50, 75, 95], axis=0).T
        out[kind] = [
            {"head": head + 1, "mean": tau.mean(), "spread": tau.std(), "percentiles_5_25_50_75_95": row}
            for head, (tau, row) in enumerate(zip(tau_PC.T, quantiles, strict=True))
        ]
    return out


def _plain(value: Any) -> Any:
    """As JSON has it: dictionaries, lists, numbers of six digits, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
