"""All measurements of a report, and their numbers as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data import Labelled, Subset
from training.judging.pairs import Pairs
from training.report.measure import KNN_TEMPERATURE, PRESETS, Measures, head_agreement, measure_network, pair_images
from training.report.runs import Run, untrained

SCHEMA = 2


@dataclass(frozen=True)
class Measured:
    """One run beside the same network untrained."""

    run: Run
    here: Measures
    floor: Measures


@dataclass(frozen=True)
class Study:
    """One run, or two: the one compared with comes first."""

    measured: Sequence[Measured]
    data: str
    classes: int | None  # None: without labels
    in_common: int  # of the judged images, how many a run learnt from
    pairs: int  # positive ones, and as many negative ones
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Every number of the report, with its protocol; NaN is null."""
        numbers: dict[str, Any] = _plain(
            {
                "schema": SCHEMA,
                "data": self.data,
                "classes": self.classes,
                "learnt_from": self.in_common,
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
    "rankme": "exp of the entropy of the singular values' shares, of the queries' features (Garrido et al. 2023)",
    "alpha_req": "exponent of the decay of the eigenvalues of the queries' covariance, ranks 4 to 50, weighted by "
    "1/rank (Agrawal et al. 2022)",
    "uniformity": "log of the mean of exp(-2 d^2) over pairs of queries, features of unit norm",
    "alignment": "mean of d^2 over the abcde views of the pair study, features of unit norm",
    "pair_auroc": "of the score, by preset; pair_auroc_features: of the cosine of backbone features",
    "calibration_error": "expected, 10 bins, of a logistic regression on the score, fitted on one half of the abcde "
    "pairs, judged like the brier score on the other",
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
    queries: Subset,
    labelled: Labelled | None,
    *,
    data: str,
    in_common: int,
    pairs: int,
    seed: int,
    say: Callable[[str], None],
) -> Study:
    """Measure every run and its untrained twin by the images `queries`, which are `labelled`'s if they have labels.

    `in_common` of them a run has learnt from; `say` hears what is being done. ValueError when something is unfit.
    """
    chosen = pair_images(queries, pairs, seed)
    floors: dict[tuple[Any, ...], Measures] = {}

    def measured(run: Run, labelled: Labelled | None) -> Measures:
        bank = f"{len(labelled.bank.indices)} + " if labelled else ""
        say(f"{run.name}: features of {bank}{len(queries.indices)} images, {len(chosen)} + {len(chosen)} pairs")
        return measure_network(run, queries, labelled, chosen, seed)

    found = []
    for run in runs:
        here, backbone = measured(run, labelled), backbone_of(run)
        whole = (*backbone, run.config.heads, run.config.temperature)  # untrained heads have a score too
        if whole not in floors:
            same = next((floor for key, floor in floors.items() if key[: len(backbone)] == backbone), None)
            floor = measured(untrained(run), None if same else labelled)
            floors[whole] = dataclasses.replace(floor, quality=same.quality) if same else floor
        found.append(Measured(run, here, floors[whole]))
    classes = len(set(labelled.bank.labels)) if labelled else None
    return Study(found, data, classes, in_common, len(chosen), seed)


def backbone_of(run: Run) -> tuple[Any, ...]:
    """What the untrained backbone's features depend on: runs of the same have the same."""
    data = run.config.data
    return (run.config.backbone, data.image_size, data.mean, data.std)


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
        **_json(measured.here),
        "untrained": {
            **_json(measured.floor),
            "pairs": {preset: {"feature": _feature_json(p)} for preset, p in measured.floor.pairs.items()},
        },
        "pairs": {preset: _pairs_json(pairs, seed) for preset, pairs in measured.here.pairs.items()},
        "temperatures": {preset: _temperatures_json(pairs) for preset, pairs in measured.here.pairs.items()}
        if run.adaptive
        else None,
        "head_agreement": {
            kind: head_agreement(getattr(measured.here.pairs[PRESETS[-1]], kind)).tolist()
            for kind in ("positive", "negative")
        }
        if run.config.heads.num > 1
        else None,
        "curves": dict(run.curves),
    }


def _json(found: Measures) -> dict[str, Any]:
    return {
        "features": None if found.quality is None else dataclasses.asdict(found.quality),
        "label_free": dataclasses.asdict(found.label_free),
    }


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
