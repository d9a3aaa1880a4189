from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.jobs.calibrating import Cost, Rate, fitted, pairs_of_labels
from amcl_serve.metrics.calibration import probability
from tests.fakes import CALIBRATION


def scores(pairs: int, seed: int, gap: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs, half of them the same: normal around two means, whose log odds are a line by their variance."""
    rng = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    return rng.normal(0.3 + gap * same, 0.2), same


def test_the_fit_is_better_on_pairs_that_it_has_not_seen() -> None:
    for seed in range(5):
        found = fitted(*scores(2000, seed), before=CALIBRATION, seed=seed)
        assert found.before is not None
        assert found.after.expected_calibration_error < found.before.expected_calibration_error / 2
        unseen, same = scores(2000, 100 + seed)
        chance = probability(unseen, slope=found.calibration.slope, intercept=found.calibration.intercept)
        assert np.mean((chance - same) ** 2) == pytest.approx(found.after.brier, abs=0.02)


def test_a_false_accept_rate_is_kept_on_the_other_half() -> None:
    """The rate that was asked for lies in the interval of what was measured, in nearly all of forty draws."""
    kept = 0
    for seed in range(40):
        found = fitted(*scores(2000, seed), wanted=Rate(0.05), seed=seed).threshold
        kept += found.false_accept_rate.low <= 0.05 <= found.false_accept_rate.high
    assert kept >= 32  # the threshold is drawn too, by as many pairs: 83 % of 95 % intervals hold it


def test_a_dear_false_accept_moves_the_threshold_up() -> None:
    cheap, dear = (fitted(*scores(2000, 1), wanted=Cost(cost, 1.0)).threshold for cost in (1.0, 20.0))
    assert dear.score > cheap.score
    assert dear.false_accept_rate.value < cheap.false_accept_rate.value
    assert dear.false_reject_rate.value > cheap.false_reject_rate.value


@pytest.mark.parametrize(("pairs", "gap", "said"), [(30, 0.3, "20 of each"), (400, -0.5, "score no higher")])
def test_what_cannot_be_fitted_is_refused(pairs: int, gap: float, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fitted(*scores(pairs, 0, gap))


def test_labels_make_pairs_of_both_kinds() -> None:
    labels = [str(number % 7) for number in range(70)] + ["alone"]
    found = pairs_of_labels(labels, np.random.default_rng(0))
    assert (int(found.same.sum()), int((~found.same).sum())) == (70, 71)
    for one, other, same in zip(found.first, found.second, found.same, strict=True):
        assert one != other
        assert (labels[one] == labels[other]) == same
    with pytest.raises(InvalidRequest, match="two values"):
        pairs_of_labels(["a"] * 5, np.random.default_rng(0))
