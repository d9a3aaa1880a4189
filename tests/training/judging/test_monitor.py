from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from training.config import HeadsConfig, PairTemperatureConfig
from training.judging.monitor import collapse, statistics, stuck
from training.methods.base import Seen
from training.model.temperature import AdaptiveTemperature, ConstantTemperature

CONSTANT, ADAPTIVE = PairTemperatureConfig(), PairTemperatureConfig(kind="adaptive")
NUMBERS = HeadsConfig(dim=4)


def _seen(features: torch.Tensor) -> Seen:
    """All rows are anchors and candidates; rows i and i + n/2 are a pair."""
    z, rows = F.normalize(features, dim=1)[None], torch.arange(len(features))
    return Seen(features, z, z, rows.roll(len(rows) // 2), rows)


def _constant(features: torch.Tensor) -> dict[str, float]:
    return statistics(_seen(features), ConstantTemperature(0.1), CONSTANT)


def test_positives_and_negatives_are_told_apart() -> None:
    z = torch.eye(4).repeat(2, 1)  # eight views of four orthogonal images
    numbers = _constant(z)
    assert numbers["positive_similarity"] == pytest.approx(1)
    assert numbers["negative_similarity"] == pytest.approx(0)
    assert numbers["alignment"] == pytest.approx(0)
    assert numbers["uniformity"] == pytest.approx(-4)  # all negatives at a squared distance of 2
    assert numbers["effective_rank"] == pytest.approx(4, rel=1e-3)
    assert "tau_positive" not in numbers


def test_temperatures_of_positives_and_negatives_are_told_apart() -> None:
    temperature = AdaptiveTemperature(NUMBERS, ADAPTIVE)
    with torch.no_grad():
        temperature.gain.fill_(1e4)  # all pairs at a bound
    before = temperature.centre.clone()
    numbers = statistics(_seen(torch.eye(4).repeat(2, 1)), temperature, ADAPTIVE)
    assert numbers["tau_positive"] == numbers["tau_positive_head0"] == pytest.approx(ADAPTIVE.low)
    assert numbers["tau_positive_at_bound"] == 1
    assert numbers["tau_positive_spread"] == pytest.approx(0)
    assert ADAPTIVE.low - 1e-6 <= numbers["tau_negative"] <= ADAPTIVE.high + 1e-6
    assert torch.equal(temperature.centre, before)  # looking changes nothing
    assert temperature.training


def test_anchors_that_are_no_candidates_lose_no_negative() -> None:
    z = torch.eye(4)[None]
    seen = Seen(torch.eye(4), z, torch.cat([z, z], dim=1), torch.arange(4))
    numbers = statistics(seen, ConstantTemperature(0.1), CONSTANT)
    assert numbers["negative_similarity"] == pytest.approx(1 / 7)  # the second copy is a negative of similarity 1


def test_a_stage_without_heads_shows_its_features() -> None:
    numbers = statistics(
        Seen(torch.randn(64, 32), numbers={"noise": torch.tensor(0.5)}), ConstantTemperature(1), CONSTANT
    )
    assert set(numbers) == {"noise", "feature_spread", "effective_rank"}
    assert collapse(numbers) is None


def test_collapse_is_named() -> None:
    torch.manual_seed(0)
    healthy = torch.randn(64, 32)
    assert collapse(_constant(healthy)) is None
    assert "negatives are as alike" in (collapse(_constant(torch.ones(64, 32) + 0.01 * healthy)) or "")
    assert "line" in (collapse(_constant(torch.randn(64, 1) * torch.ones(1, 32))) or "")


def test_temperatures_at_their_bounds_are_named() -> None:
    assert stuck({"tau_positive_at_bound": 0.99, "tau_negative_at_bound": 0.5}) is None
    assert "bounds" in (stuck({"tau_positive_at_bound": 0.99, "tau_negative_at_bound": 0.97}) or "")
    assert stuck({}) is None
