"""Fits the pair score's calibration to one half of somebody's pairs, and says what it is worth on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError, InvalidRequest
from amcl_serve.evaluation.dataset import Dataset, Pairs
from amcl_serve.evaluation.embedder import Embedded, Embedder
from amcl_serve.evaluation.progress import Progress
from amcl_serve.hosting.calibrations import Quality
from amcl_serve.metrics.calibration import fit_calibration, probability, reliability
from amcl_serve.metrics.operating import errors_at, supported, threshold_by_cost, threshold_by_rate, wilson
from amcl_serve.metrics.separation import auroc
from amcl_serve.model.bundle import Calibration

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

FEWEST = 20  # pairs of each kind
PAIRS = 20_000  # that are made of labels, or read, at most
_READ = 64  # images that are in memory at a time


@dataclass(frozen=True)
class Rate:
    """Accept so few pairs of different things, as a share of them."""

    false_accepts: float


@dataclass(frozen=True)
class Cost:
    """Accept where it costs least, by what a wrong yes and a wrong no cost; both kinds of pairs being as frequent."""

    false_accept: float
    false_reject: float


@dataclass(frozen=True)
class Share:
    """A share of `n` held-out pairs, with its 95 % interval (Wilson's)."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Threshold:
    """Where pairs are judged the same, chosen on the fitted half, and its errors on the other."""

    by: Literal["probability", "false_accept_rate", "cost"]
    score: float
    probability: float
    false_accept_rate: Share
    false_reject_rate: Share


@dataclass(frozen=True)
class Fitted:
    """A calibration and what it is worth; `left_out` pairs had an image that could not be read."""

    calibration: Calibration
    threshold: Threshold
    before: Quality | None
    after: Quality
    fitted: int
    held_out: int
    left_out: int


def pairs_of(dataset: Dataset, seed: int) -> Pairs:
    """The dataset's pairs; else as many of one label as of two, each image in few of them. PAIRS at most.

    InvalidRequest where it has neither.
    """
    rng = np.random.default_rng(seed)
    if dataset.pairs is not None:
        given = dataset.pairs
        if len(given.same) <= PAIRS:
            return given
        rows = np.sort(rng.choice(len(given.same), PAIRS, replace=False))
        return Pairs(given.first[rows], given.second[rows], given.same[rows])
    if dataset.labels is None:
        raise InvalidRequest("the archive has neither pairs.csv nor all images in folders, one for each thing shown")
    return pairs_of_labels(dataset.labels, rng)


def pairs_of_labels(labels: Sequence[str], rng: np.random.Generator) -> Pairs:
    """Each image with another one of its label, and with one of another label. InvalidRequest for one label."""
    _, number = np.unique(np.asarray(labels), return_inverse=True)
    order = rng.permutation(len(number))
    grouped = order[np.argsort(number[order], kind="stable")]
    counts = np.bincount(number)
    if len(counts) < 2 or counts.max() < 2:
        raise InvalidRequest("labels need at least two values, and one of them two images")
    starts = np.cumsum(counts) - counts
    places = np.arange(min(len(grouped), PAIRS // 2))  # in `grouped`, where the images of a label stand together
    start, count = starts[number[grouped[places]]], counts[number[grouped[places]]]
    partner = grouped[start + (places - start + 1) % count]  # the next of its label, in a circle
    other = rng.integers(len(number) - count)
    stranger = grouped[np.where(other < start, other, other + count)]
    alone = count < 2
    first, kind = grouped[places], np.repeat([True, False], [int((~alone).sum()), len(places)])
    return Pairs(np.concatenate([first[~alone], first]), np.concatenate([partner[~alone], stranger]), kind)


def calibrate(
    dataset: Dataset,
    embedder: Embedder,
    progress: Progress,
    *,
    before: Calibration | None,
    wanted: Rate | Cost | None = None,
    seed: int = 0,
) -> Fitted:
    """Embed and score the dataset's pairs, and fit. `before` is the calibration in force.

    InvalidRequest where there are too few pairs, or they do not suffice for what is wanted.
    """
    pairs = pairs_of(dataset, seed)
    found = _embedded(dataset, embedder, np.unique(np.concatenate([pairs.first, pairs.second])), progress)
    good = np.asarray([a in found and b in found for a, b in zip(pairs.first, pairs.second, strict=True)], np.bool_)
    same = pairs.same[good]
    _check_counts(same, "with images that can be read", left_out=int((~good).sum()))
    sides = ([found[int(image)] for image in side[good]] for side in (pairs.first, pairs.second))
    return fitted(
        embedder.score(*sides).score, same, before=before, wanted=wanted, seed=seed, left_out=int((~good).sum())
    )


def fitted(
    scores: Floats,
    same: Bools,
    *,
    before: Calibration | None = None,
    wanted: Rate | Cost | None = None,
    seed: int = 0,
    left_out: int = 0,
) -> Fitted:
    """Fit to a half, drawn by `seed`, of scores [P] of pairs that are `same` [P] or not. Raises as `calibrate`."""
    _check_counts(same, "")
    half = _half(same, np.random.default_rng(seed))
    try:
        slope, intercept = fit_calibration(scores[half], same[half])
    except ValueError as error:
        raise InvalidRequest(f"the pairs cannot be fitted: {error}") from None
    if slope <= 0:
        raise InvalidRequest(
            "pairs of the same thing score no higher than others: the labels are wrong, or the model does not tell "
            "these images apart; nothing was changed"
        )
    cut = _cut(scores[half], same[half], slope, intercept, wanted)
    chance = float(probability(cut, slope=slope, intercept=intercept))
    errors = errors_at(cut, scores[~half], same[~half])
    held_out = probability(scores[~half], slope=slope, intercept=intercept)
    measured = reliability(held_out, same[~half], threshold=chance)
    calibration = Calibration(
        slope=slope,
        intercept=intercept,
        threshold=chance,
        protocol=f"fitted to {int(half.sum())} pairs of the server's user, measured on {len(held_out)} others",
        pairs=len(held_out),
        auroc=auroc(scores[~half][same[~half]], scores[~half][~same[~half]]),
        accuracy=measured.accuracy,
        brier=measured.brier,
        expected_calibration_error=measured.expected_calibration_error,
    )
    return Fitted(
        calibration=calibration,
        threshold=Threshold(
            by="probability" if wanted is None else "false_accept_rate" if isinstance(wanted, Rate) else "cost",
            score=cut,
            probability=chance,
            false_accept_rate=_share(errors.false_accepts, errors.negatives),
            false_reject_rate=_share(errors.false_rejects, errors.positives),
        ),
        before=None if before is None else quality(before, scores[~half], same[~half]),
        after=quality(calibration, scores[~half], same[~half]),
        fitted=int(half.sum()),
        held_out=len(held_out),
        left_out=left_out,
    )


def quality(calibration: Calibration, scores: Floats, same: Bools) -> Quality:
    """What a calibration is worth on scores [P] of pairs that are `same` [P] or not."""
    chance = probability(scores, slope=calibration.slope, intercept=calibration.intercept)
    found = reliability(chance, same, threshold=calibration.threshold)
    return Quality(
        expected_calibration_error=found.expected_calibration_error, brier=found.brier, accuracy=found.accuracy
    )


def _embedded(
    dataset: Dataset, embedder: Embedder, images: npt.NDArray[np.int64], progress: Progress
) -> dict[int, Embedded]:
    """Those of the images that can be read, by their number."""
    found: dict[int, Embedded] = {}
    for start in range(0, len(images), _READ):
        progress("embedding", start, len(images))
        numbers, contents = [], []
        for image in images[start : start + _READ].tolist():
            try:
                contents.append(dataset.read(image))
            except AmclError:
                continue
            numbers.append(image)
        items = zip(numbers, embedder.embed(contents), strict=True)
        found |= {image: item for image, item in items if isinstance(item, Embedded)}
    return found


def _check_counts(same: Bools, which: str, left_out: int = 0) -> None:
    positives = int(same.sum())
    if min(positives, len(same) - positives) < FEWEST:
        left = f" ({left_out} were left out)" if left_out else ""
        raise InvalidRequest(
            f"there are {positives} pairs of the same thing and {len(same) - positives} of different things"
            f"{' ' if which else ''}{which}{left}; {FEWEST} of each are needed"
        )


def _half(same: Bools, rng: np.random.Generator) -> Bools:
    """Half of each kind."""
    half = np.zeros(len(same), np.bool_)
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(same == kind))
        half[rows[: len(rows) // 2]] = True
    return half


def _cut(scores: Floats, same: Bools, slope: float, intercept: float, wanted: Rate | Cost | None) -> float:
    if wanted is None:
        return -intercept / slope  # where the probability is a half
    if isinstance(wanted, Cost):
        cut = threshold_by_cost(scores, same, false_accept=wanted.false_accept, false_reject=wanted.false_reject)
    else:
        negatives = int((~same).sum())
        if not supported(wanted.false_accepts, negatives):
            raise InvalidRequest(
                f"{negatives} pairs of different things, half of what was sent, cannot tell a false-accept rate of "
                f"{wanted.false_accepts:g}, which accepts less than ten of them; send more, or ask for a larger one"
            )
        cut = threshold_by_rate(scores, same, wanted.false_accepts)
    if not np.isfinite(cut):
        raise InvalidRequest(
            "pairs of different things score as high as any: no threshold keeps errors so low; ask for less"
        )
    return cut


def _share(count: int, total: int) -> Share:
    low, high = wilson(count, total)
    return Share(count / total, low, high, total)
