"""The poster's study: under which kind of augmentation views of an image are still known to be of one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from amcl_serve.evaluation.protocols.pair_sets import PairSet
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part
from amcl_serve.evaluation.result import Table
from amcl_serve.metrics.bootstrap import Counts
from amcl_serve.metrics.operating import Scores

WORDS = {"a": "crop", "b": "blur", "c": "colour dropping", "d": "colour distortion", "e": "flip"}


def kinds(by_kind: Mapping[str, PairSet]) -> Part:
    """AUROC under each kind by itself."""
    part = Part("kinds", "Kinds of augmentation")
    rows: list[list[str | float | int | None]] = []
    for kind, found in by_kind.items():
        areas = []
        for suffix, values, what in (
            ("", found.scored.score, "the pair score"),
            ("_features", found.scored.features, "the features' cosine"),
        ):
            scores = Scores(values, found.same)
            areas.append(scores.curve().area)
            part.items.append(
                Estimate(
                    name=f"pair_auroc{suffix}_{kind}",
                    title=f"AUROC of {what}, {WORDS[kind]}",
                    protocol=f"AUROC of {what}, views by {kind} ({WORDS[kind]}) alone; {found.units} pairs a sort",
                    n=len(found),
                    statistic=partial(_area, found, scores),
                    resampling=found.resampling,
                    units=found.units,
                    how=found.drawn,
                    percent=True,
                )
            )
        rows.append([f"{kind}, {WORDS[kind]}", *areas, found.units])
    part.tables.append(Table("AUROC by kind", ("kind", "pair score", "features' cosine", "images"), rows))
    return part


def _area(found: PairSet, scores: Scores, counts: Counts) -> float:
    return scores.curve(found.weights(counts)).area
