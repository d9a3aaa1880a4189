"""Intervals hold what they promise: over many drawn sets they cover the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.metrics.bootstrap import Clusters, Independent, Products, Ring, interval, mean_of, paired
from amcl_serve.metrics.operating import Scores


def test_draws_are_as_many_as_there_are_units_and_the_same_again():
    for resampling in (Independent(37), Ring(37), Clusters(np.arange(37) % 10)):
        first, second = (list(resampling.draws(3, 20)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert np.mean(first) == pytest.approx(1, abs=0.1)
    assert all(counts.sum() == 37 for counts in Ring(37).draws(0, 20))


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=2000)
    low, high = interval(mean_of(values), Independent(2000))
    half = 1.96 * values.std() / 2000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 5)


def test_a_ring_whose_neighbours_are_alike_gets_a_wider_interval():
    noise = np.random.default_rng(0).normal(size=2001)
    values = noise[1:] + noise[:-1]
    alone, ring = (np.diff(interval(mean_of(values), each(2000)))[0] for each in (Independent, Ring))
    truth = 2 * 1.96 * 2 / 2000**0.5  # variance of the mean: (2 + 2 · 1) / n
    # Blocks of two see half of what neighbours have in common.
    assert ring == pytest.approx(truth * (3 / 4) ** 0.5, rel=0.15)
    assert alone == pytest.approx(truth / 2**0.5, rel=0.15)
    assert ring > 1.1 * alone


def test_clusters_are_drawn_whole():
    of = np.repeat(np.arange(100), 10)
    values = np.random.default_rng(0).normal(size=100)[of]
    low, high = interval(mean_of(values), Clusters(of))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.2)


def test_products_draw_a_pair_as_often_as_both_of_its_images():
    first, second = np.array([0, 1, 2]), np.array([1, 2, 2])
    for counts, images in zip(Products(first, second).draws(5, 30), Independent(3).draws(5, 30), strict=True):
        np.testing.assert_array_equal(counts, [images[0] * images[1], images[1] * images[2], images[2]])


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=500)
    one, other = mean_of(hard), mean_of(hard + 0.1 + 0.01 * rng.normal(size=500))
    low, high = paired(one, other, Independent(500))
    assert 0.098 < low < 0.1 < high < 0.102
    assert np.diff(interval(one, Independent(500)))[0] > 0.1


def test_what_is_not_defined_has_no_interval():
    assert np.isnan(interval(lambda counts: float("nan"), Independent(5))).all()


def _population(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of two views of each of `count` images: the image, and noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(count, 6))
    return tuple(  # type: ignore[return-value]
        each / np.linalg.norm(each, axis=1, keepdims=True)
        for each in (image + 0.9 * rng.normal(size=(count, 6)) for _ in range(2))
    )


def _ring_scores(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = [(first * second).sum(1), (first * np.roll(second, -1, 0)).sum(1)]
    return np.concatenate(both), np.arange(2 * len(first)) < len(first)


@pytest.mark.slow
def test_the_95_percent_interval_of_auroc_covers_the_whole_sets_value_in_92_to_98_percent_of_200_subsets():
    first, second = _population(0, 40_000)
    truth = Scores(*_ring_scores(first, second)).curve().area
    covered, count = 0, 300
    for seed in range(200):
        chosen = np.random.default_rng(1000 + seed).choice(len(first), count, replace=False)
        scores, same = _ring_scores(first[chosen], second[chosen])
        ready, unit = Scores(scores, same), np.tile(np.arange(count), 2)
        low, high = interval(lambda counts, r=ready, u=unit: r.curve(counts[u]).area, Ring(count), seed)
        covered += low <= truth <= high
    assert 0.92 <= covered / 200 <= 0.98
