"""What a report promises of pairs of embedded pictures that it has not seen: thresholds, calibration, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.evaluation.embedder import Embedded
from amcl_serve.evaluation.protocols.pair_sets import PairSet, ring
from amcl_serve.evaluation.protocols.parts.certainty import calibration
from amcl_serve.evaluation.protocols.parts.part import Estimate
from amcl_serve.evaluation.result import Figure
from amcl_serve.metrics.bootstrap import interval
from amcl_serve.metrics.operating import Scores, threshold_by_rate, wilson
from tests.amcl_serve.evaluation.conftest import picture
from tests.amcl_serve.evaluation.embedders import Colours

IMAGES = 1600


@pytest.fixture(scope="module")
def views() -> tuple[list[Embedded], list[Embedded]]:
    """Two noisy views of each of many pictures, as an embedder sees them."""
    rng = np.random.default_rng(0)
    sides: tuple[list[Embedded], list[Embedded]] = ([], [])
    for seed in range(IMAGES):
        row = np.asarray(picture(seed).resize((4, 4)), np.float32).ravel() / 255 - 0.5
        for side in sides:
            noisy = row + rng.normal(scale=0.25, size=row.shape).astype(np.float32)
            heads = noisy.reshape(2, -1)
            side.append(Embedded(noisy, heads / np.linalg.norm(heads, axis=1, keepdims=True)))
    return sides


def pair_set(views: tuple[list[Embedded], list[Embedded]], places: np.ndarray) -> PairSet:
    first, second = ([side[int(place)] for place in places] for side in views)
    return ring(Colours(), first, second, lambda *_: None, drawn="images", pictures=lambda *_: ([], []))


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_thresholds_keep_their_false_accept_rate_on_the_other_half(
    views: tuple[list[Embedded], list[Embedded]], rate: float
) -> None:
    """Over 100 random halves: the rate on the other half is the promised one, and its interval holds that as often as
    two halves, both drawn, allow.
    """
    rates, held = [], 0
    every = pair_set(views, np.arange(IMAGES))
    different = np.flatnonzero(~every.same)
    for seed in range(100):
        drawn = np.random.default_rng(seed).permutation(different)
        fit, report = np.split(drawn, 2)
        chosen = np.concatenate([np.flatnonzero(every.same), fit])
        threshold = threshold_by_rate(every.scored.score[chosen], every.same[chosen], rate)
        accepted = int((every.scored.score[report] >= threshold).sum())
        rates.append(accepted / len(report))
        low, high = wilson(accepted, len(report))
        held += low <= rate <= high
    assert np.mean(rates) == pytest.approx(rate, rel=0.15)
    # The threshold scatters as the rate does: a difference of two halves is √2 as wide as the interval of one, which
    # then holds it in 83 of 100.
    assert held >= 75


def test_a_fitted_calibration_lowers_the_error_on_pairs_it_has_not_seen(
    views: tuple[list[Embedded], list[Embedded]],
) -> None:
    better = 0
    for seed in range(20):
        fit, report = np.split(np.random.default_rng(seed).permutation(IMAGES), 2)
        part = calibration(pair_set(views, fit), pair_set(views, report), prefix="pair", protocol="")
        value = {item.name: item.value for item in part.items if isinstance(item, (Figure, Estimate))}
        served, fitted = value["pair_ece_served"], value["pair_ece_fitted"]
        assert served is not None
        assert fitted is not None
        assert fitted < 0.06
        better += fitted < served
    assert better == 20


@pytest.mark.slow
def test_intervals_of_auroc_of_embeddings_cover_the_whole_sets_value(
    views: tuple[list[Embedded], list[Embedded]],
) -> None:
    """200 subsets of 150 images of 1600, of pictures that an embedder has seen."""
    every = pair_set(views, np.arange(IMAGES))
    truth = every.scores().curve().area
    covered = 0
    for seed in range(200):
        chosen = np.random.default_rng(1000 + seed).choice(IMAGES, 150, replace=False)
        found = pair_set(views, chosen)
        ready = Scores(found.scored.score, found.same)
        low, high = interval(lambda counts, r=ready, f=found: r.curve(f.weights(counts)).area, found.resampling, seed)
        covered += low <= truth <= high
    assert 0.92 <= covered / 200 <= 0.98
