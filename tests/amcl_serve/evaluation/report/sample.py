"""A result of every kind of part, made from random scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from amcl_serve.evaluation.result import Case, Figure, Plot, Result, Section, Series, Table
from amcl_serve.metrics.separation import auroc
from tests.images import photo

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202egnp.exe\x00\udce9.png"


def sample(*, names: Sequence[str] = ("cats/0001.jpg", "dogs/0017.jpg"), title: str = "Holiday photos") -> Result:
    """The result; `names` are those of the images of its cases, `title` its own."""
    rng = np.random.default_rng(0)
    same, different = rng.normal(0.7, 0.15, 1000).clip(-1, 1), rng.normal(0.1, 0.15, 1000).clip(-1, 1)
    return Result(
        protocol="label_free",
        title=title,
        provenance={
            "model": "tiny",
            "digest": "sha256:" + "0123456789abcdef" * 4,
            "precision": "int8 on CPUExecutionProvider",
            "preprocessing": "shorter side to 64 px, bilinear, centre kept",
            "data": "sha256:" + "fedcba9876543210" * 4,
            "seed": 0,
            "command": "amcl-serve evaluate --folder photos --out report",
        },
        sections=(
            health(names),
            Section("geometry", "Geometry without labels", missing="fewer than 2 images"),
            pairs(same, different, names),
            calibration(),
        ),
        seconds=73.4218,
        started="2026-11-30T09:12:44Z",
    )


def health(names: Sequence[str]) -> Section:
    return Section(
        "health",
        "Health of the data",
        figures=(
            Figure("unreadable", "Unreadable files", 0.0021, 10_000, "share of files that decode to nothing",
                   0.0013, 0.0032, "lower", percent=True),
            Figure("near_duplicates", "Near duplicates", None, 0, "no image has another with a cosine above 0.99"),
        ),
        tables=(
            Table(
                "Sizes",
                ("size", "images", "share", "mean brightness"),
                [(f"{64 * k} × {48 * k}", 1000 - 37 * k, (1000 - 37 * k) / 14780, None) for k in range(1, 21)],
            ),
        ),
        notes=(f"The largest file is {names[0]}.",),
    )  # fmt: skip


def pairs(same: np.ndarray, different: np.ndarray, names: Sequence[str]) -> Section:
    edges = np.linspace(-1, 1, 51)
    thresholds = np.sort(np.concatenate([same, different]))[::-1]
    far = [float((different >= t).mean()) for t in thresholds]
    frr = [float((same < t).mean()) for t in thresholds]
    pictures = [photo(seed, (96, 64)) for seed in range(6)]
    return Section(
        "pairs",
        "Pairs",
        figures=(
            Figure("pair_auroc", "AUROC of the pair score", auroc(same, different), 2000,
                   "chance that a pair of one image scores above one of two; bootstrap over images", 0.9921, 0.9984),
            Figure("pair_eer", "Equal error rate", 0.0235, 2000, "where both kinds of error are as frequent",
                   0.0181, 0.0297, "lower", percent=True),
            Figure("pair_gap", "Gap of the means", 0.5981, 2000, "mean of the same less mean of the different",
                   better=None),
        ),
        plots=(
            Plot("pair_histogram", "Scores of pairs", "steps", "pair score", "pairs", (
                Series("positive pairs", edges.tolist(), np.histogram(same, edges)[0].tolist()),
                Series("negative pairs", edges.tolist(), np.histogram(different, edges)[0].tolist()),
            )),
            Plot("roc", "ROC", "lines", "false accepts", "true accepts", (
                Series("pair score", far, [1 - each for each in frr]),
                Series("feature cosine", far, [(1 - each) ** 1.3 for each in frr]),
            ), diagonal=True),
            Plot("det", "DET", "lines", "false accepts", "false rejects",
                 (Series("pair score", far, frr),), log_x=True),
            Plot("margin", "Score against temperature", "points", "pair score", "temperature", (
                Series("same", same.tolist(), (0.2 - 0.1 * same + 0.02 * np.cos(9 * same)).tolist()),
                Series("different", different.tolist(), (0.25 - 0.1 * different).tolist()),
            )),
        ),
        cases=tuple(
            [
                Case("Different, and scored highest", names, pictures[2 * k : 2 * k + 2], 0.81 - 0.03 * k)
                for k in range(3)
            ]
            + [Case("Same, and scored lowest", names, (pictures[0], b"GIF89a: shown as nothing"), -0.1234)]
        ),
    )  # fmt: skip


def calibration() -> Section:
    bins = [0.05 + k / 10 for k in range(10)]
    return Section(
        "calibration",
        "Calibration",
        figures=(Figure("pair_ece_served", "Expected calibration error", 0.0123, 2000,
                        "15 bins of equal number; bootstrap", 0.009, 0.0187, "lower"),),
        plots=(
            Plot("reliability", "Reliability", "lines", "probability said", "share that is the same", (
                Series("before", bins, [min(1.0, 1.2 * each**1.4) for each in bins]),
                Series("after", bins, [None if k == 4 else each + 0.02 for k, each in enumerate(bins)]),
            ), diagonal=True),
        ),
    )  # fmt: skip


def renamed(result: Result, name: str) -> Result:
    """The result with `name` wherever a stranger's text may stand."""

    def change(value: object) -> object:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kept = {"kind", "better", "started"}
            changed = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return dataclasses.replace(value, **{k: v if k in kept else change(v) for k, v in changed.items()})
        if isinstance(value, str):
            return name
        if isinstance(value, dict):
            return {f"{name}{place}": change(each) for place, each in enumerate(value.values())}
        if isinstance(value, list | tuple):
            return tuple(change(each) for each in value)
        return value

    changed = change(result)
    assert isinstance(changed, Result)
    return changed
