"""Figures without a group are those of the other images, and their intervals as wide as the figures scatter."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.metrics import jackknife
from amcl_serve.metrics.geometry import alpha_req, effective_rank, feature_spread, uniformity
from amcl_serve.metrics.neighbours import neighbours

SCALE = np.arange(1, 65) ** -0.5


def features(seed: int, count: int = 400) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 64)) * SCALE + 0.1
    return rows.astype(np.float32)


def test_figures_without_a_group_are_those_of_the_others():
    rows = features(0)
    group = jackknife.groups(len(rows), 3)
    assert set(np.bincount(group)) == {40}
    found = jackknife.spectra(rows, group) | {"uniformity": jackknife.uniformities(rows, group)}
    direct = {
        "rankme": effective_rank,
        "alpha_req": alpha_req,
        "feature_spread": feature_spread,
        "uniformity": uniformity,
    }
    for name, figure in direct.items():
        expected = [figure(rows[group != each]) for each in range(jackknife.GROUPS)]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, err_msg=name)


def test_an_interval_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(size=(1000,))
    group = jackknife.groups(1000)
    low, high = jackknife.interval(values.mean(), [values[group != each].mean() for each in range(10)])
    assert (low + high) / 2 == pytest.approx(values.mean())
    means = [values[group == each].mean() for each in range(10)]  # the classical interval of ten means
    assert (high - low) / 2 == pytest.approx(2.262 * np.std(means, ddof=1) / 10**0.5, rel=1e-6)


@pytest.mark.parametrize("name", ["rankme", "alpha_req", "uniformity", "feature_spread", "hubness"])
def test_intervals_are_as_wide_as_figures_scatter(name: str):
    """Of 60 drawn sets, the intervals of so many hold the figure's mean over sets that 95 % may be true."""
    held, figures, ends = 0, [], []
    for seed in range(60):
        rows = features(seed, 300)
        group = jackknife.groups(len(rows), seed)
        if name == "hubness":
            index = neighbours(rows, 10).index
            value, left_out = jackknife.hubnesses(index, np.full(300, -1))[0], jackknife.hubnesses(index, group)
        elif name == "uniformity":
            value, left_out = uniformity(rows), jackknife.uniformities(rows, group)
        else:
            direct = {"rankme": effective_rank, "alpha_req": alpha_req, "feature_spread": feature_spread}
            value, left_out = direct[name](rows), jackknife.spectra(rows, group)[name]
        figures.append(value)
        ends.append(jackknife.interval(value, left_out))
    for low, high in ends:
        held += low <= np.mean(figures) <= high
    assert held >= 51, f"{held} of 60; 57 are to be expected, fewer than 51 have a chance of 1 in 60"
