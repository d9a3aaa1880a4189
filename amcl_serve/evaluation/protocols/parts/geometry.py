"""How features lie, without labels: rank, spectrum, alignment, uniformity, hubs."""

from __future__ import annotations

from functools import partial

import numpy as np

from amcl_serve.evaluation.protocols.look import Look, Model, evenly
from amcl_serve.evaluation.protocols.pair_sets import PairSet
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part
from amcl_serve.evaluation.result import Better, Figure, Plot, Series, defined
from amcl_serve.metrics import jackknife
from amcl_serve.metrics.bootstrap import Counts, Ring
from amcl_serve.metrics.geometry import alpha_req, effective_rank, feature_spread, singular_values, uniformity
from amcl_serve.metrics.neighbours import Neighbours, hubness, k_occurrence, neighbours

MOST = 10_000  # images that are compared with each other, evenly spaced
K = 10  # neighbours
_LEAST = 8  # images of a group that is left out for an interval
_UNTRAINED = (
    "A bundle has no untrained twin to stand beside it: training.evaluate shows one beside a run. For the model before "
    "this one give --against, or `against` of POST /evaluations."
)


def near(look: Look, model: Model) -> tuple[np.ndarray, Neighbours]:
    """The places of the held-out images that are compared, and the nearest of each among them, by row."""
    places = look.held_out[evenly(len(look.held_out), MOST)]
    return places, neighbours(model.features[places], min(K, len(places) - 1))


def geometry(model: Model, places: np.ndarray, found: Neighbours, every: PairSet | None, seed: int) -> Part:
    """Of the features at `places`, whose neighbours are `found`; `every` are pairs of views by all kinds, if any."""
    part = Part("geometry", "Features without labels")
    rows = model.features[places]
    count, dims = rows.shape
    k = found.index.shape[1]
    left_out = _left_out(rows, found, seed)
    figures: list[tuple[str, str, float, Better | None, str]] = [
        (
            "rankme",
            "RankMe",
            effective_rank(rows),
            "higher",
            f"effective rank (Garrido et al. 2023), of {dims} at most",
        ),
        (
            "alpha_req",
            "α-ReQ",
            alpha_req(rows),
            None,
            "decay of the spectrum (Agrawal et al. 2022); the best are near 1",
        ),
        (
            "uniformity",
            "Uniformity",
            uniformity(rows),
            "lower",
            "log mean of exp(−2 d²) (Wang & Isola 2020); 0 is collapse",
        ),
        (
            "feature_spread",
            "Spread",
            feature_spread(rows) * dims**0.5,
            "higher",
            "deviation of a dim times √D; 1 is even",
        ),
        (
            "hubness",
            "Hubness",
            hubness(found.index),
            "lower",
            f"skewness of how often an image is among the {k} nearest",
        ),
    ]
    part.items += [
        _figure(name, title, value, count, said, better, left_out.get(name))
        for name, title, value, better, said in figures
    ]
    part.notes.append(_UNTRAINED)
    if every is not None:
        part.items.append(
            Estimate(
                name="alignment",
                title="Alignment",
                protocol="mean d² of features of two abcde views of an image (Wang & Isola 2020); collapse gives 0 too",
                n=every.units,
                statistic=partial(_alignment, 2 - 2 * every.scored.features[every.same]),
                resampling=Ring(every.units),
                units=every.units,
                how=every.drawn,
                better="lower",
            )
        )
    often = np.bincount(k_occurrence(found.index))
    part.plots.append(
        Plot(
            "k_occurrence",
            "Hubs",
            "points",
            f"times among the {k} nearest",
            "images",
            [Series("images", np.flatnonzero(often).tolist(), often[often > 0].tolist())],
        )
    )
    values = singular_values(rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)) ** 2
    kept = values[values > 1e-12 * max(float(values[0]), 1e-30)]
    ranks = np.arange(1, len(kept) + 1)
    line = Series("eigenvalues", ranks.tolist(), np.log10(kept / kept.sum()).tolist()) if len(kept) else None
    if line is not None:
        part.plots.append(Plot("spectrum", "Spectrum", "lines", "rank", "log₁₀ share of variance", [line], log_x=True))
    return part


def _left_out(rows: np.ndarray, found: Neighbours, seed: int) -> dict[str, np.ndarray]:
    """Each figure without a tenth of the images, by name; none of fewer than GROUPS groups of _LEAST."""
    if len(rows) < _LEAST * jackknife.GROUPS:
        return {}
    group = jackknife.groups(len(rows), seed)
    values = jackknife.spectra(rows, group)
    values["feature_spread"] *= rows.shape[1] ** 0.5
    return values | {
        "uniformity": jackknife.uniformities(rows, group),
        "hubness": jackknife.hubnesses(found.index, group),
    }


def _figure(
    name: str, title: str, value: float, count: int, said: str, better: Better | None, left_out: np.ndarray | None
) -> Figure:
    said = f"{said}; features of unaugmented images"
    if left_out is None:
        return Figure(name, title, defined(value), count, said, better=better)
    low, high = jackknife.interval(value, left_out)
    said += f"; interval: 95 % jackknife, a tenth of the images left out {jackknife.GROUPS} times"
    return Figure(name, title, defined(value), count, said, defined(low), defined(high), better)


def _alignment(squared: np.ndarray, counts: Counts) -> float:
    return float(counts @ squared / counts.sum())
