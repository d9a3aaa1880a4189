from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from training.config import HeadsConfig, PairTemperatureConfig
from training.machine import distributed
from training.model.temperature import (
    AdaptiveTemperature,
    ConstantTemperature,
    SimilarityTemperature,
    ViewTemperature,
    build,
)

HEADS = HeadsConfig(num=3, dim=16)
ADAPTIVE = PairTemperatureConfig(kind="adaptive")
KINDS = [AdaptiveTemperature, ViewTemperature, SimilarityTemperature]


def _z(rows: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(3, rows, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_all_pairs_equal_the_formula_one_pair_at_a_time() -> None:
    torch.manual_seed(0)
    module = AdaptiveTemperature(HEADS, ADAPTIVE).double()
    module.gain.data = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    module.bias.data = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    module.centre.copy_(torch.tensor([0.1, 0.2, 0.3]))
    module.eval()
    z = _z(5).double()
    tau = module.pairwise(z, z)
    for c in range(3):
        for i in range(5):
            for j in range(5):
                u, v = (F.normalize(module.phi(z[c, n]), dim=0) for n in (i, j))
                x = module.level + module.bias[c] - module.bias.mean() - module.gain[c] * (u @ v - module.centre[c])
                expected = 0.03 + 0.47 / (1 + torch.exp(-x))
                torch.testing.assert_close(tau[c, i, j], expected, rtol=1e-10, atol=1e-10)


def test_a_pair_of_views_has_the_mean_of_theirs() -> None:
    torch.manual_seed(0)
    module = ViewTemperature(HEADS, ADAPTIVE).double()
    module.gain.data = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    module.bias.data = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    module.centre.copy_(torch.tensor([0.1, 0.2, 0.3]))
    module.eval()
    z = _z(5).double()
    tau = module.pairwise(z, z)
    for c in range(3):
        level = module.level + module.bias[c] - module.bias.mean() - module.centre[c]
        own = [0.03 + 0.47 / (1 + torch.exp(-level - module.gain[c] * module.phi(z[c, n])[0])) for n in range(5)]
        for i in range(5):
            for j in range(5):
                torch.testing.assert_close(tau[c, i, j], (own[i] + own[j]) / 2, rtol=1e-10, atol=1e-10)


def test_a_fixed_temperature_is_a_function_of_the_cosine_alone() -> None:
    module = SimilarityTemperature(HEADS, ADAPTIVE).eval()
    assert not list(module.parameters())
    module.centre.copy_(torch.tensor([0.1, 0.2, 0.3]))
    z = _z(5)
    sim = z @ z.transpose(1, 2)
    logit = torch.logit(torch.tensor(0.07 / 0.47)) - (sim - module.centre.view(3, 1, 1))
    torch.testing.assert_close(module.pairwise(z, z), 0.03 + 0.47 * torch.sigmoid(logit))


def test_the_mean_of_views_is_that_of_both_sides() -> None:
    module = ViewTemperature(HEADS, ADAPTIVE).train()
    module.gain.data = torch.tensor([0.5, 1.0, 3.0])
    a, b = _z(7, 1), _z(9, 2)
    module.pairwise(a, b)
    expected = module.gain * (module.phi(a).mean((1, 2)) + module.phi(b).mean((1, 2))) / 2
    torch.testing.assert_close(module.centre, expected.detach())


@pytest.mark.parametrize("kind", KINDS)
def test_paired_rows_are_the_diagonal_of_all_pairs(kind: type[AdaptiveTemperature]) -> None:
    module = kind(HEADS, ADAPTIVE).eval()
    a, b = _z(7, 1), _z(7, 2)
    rows = module(a.transpose(0, 1), b.transpose(0, 1))
    assert rows.shape == (7, 3)
    torch.testing.assert_close(rows, module.pairwise(a, b).diagonal(dim1=1, dim2=2).T)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_at_the_standard_temperature_whatever_phi_is(kind: type[AdaptiveTemperature]) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        module = kind(HEADS, ADAPTIVE)
        tau = module.pairwise(_z(64, seed), _z(64, seed + 9))
        torch.testing.assert_close(tau.mean(dim=(1, 2)), torch.full((3,), 0.1), rtol=0.05, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_stays_within_its_bounds_and_symmetric(kind: type[AdaptiveTemperature]) -> None:
    module = kind(HEADS, ADAPTIVE).double()
    module.gain.data.fill_(1e4)
    z = _z(8).double()
    tau = module.pairwise(z, z)
    assert tau.min().item() == pytest.approx(0.03)
    assert tau.max().item() == pytest.approx(0.5)
    torch.testing.assert_close(tau, tau.transpose(1, 2))


def test_like_pairs_are_more_certain() -> None:
    module = AdaptiveTemperature(HEADS, ADAPTIVE).eval()
    z = _z(32)
    tau = module.pairwise(z, z)
    same = torch.eye(32, dtype=torch.bool)
    assert bool((tau[:, same].mean(1) < tau[:, ~same].mean(1)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_running_mean_rests_in_eval(kind: type[AdaptiveTemperature]) -> None:
    module = kind(HEADS, ADAPTIVE).eval()
    before = module.centre.clone()
    module.pairwise(_z(8), _z(8))
    assert torch.equal(before, module.centre)
    module.train()
    module.pairwise(_z(8), _z(8))
    assert not torch.equal(before, module.centre)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_vectors_give_numbers(kind: type[AdaptiveTemperature]) -> None:
    module = kind(HEADS, ADAPTIVE)
    tau = module.pairwise(torch.zeros(3, 4, 16, requires_grad=True), _z(4))
    tau.sum().backward()
    assert torch.isfinite(tau).all()


def test_a_constant_one_is_constant() -> None:
    module = build(HEADS, PairTemperatureConfig(value=0.2))
    assert isinstance(module, ConstantTemperature)
    assert float(module.pairwise(_z(4), _z(4))) == pytest.approx(0.2)
    assert torch.equal(module(_z(4).transpose(0, 1), _z(4).transpose(0, 1)), torch.full((4, 3), 0.2))


def test_paired_rows_move_the_running_mean_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = _z(8, 1).transpose(0, 1), _z(8, 2).transpose(0, 1)
    module = AdaptiveTemperature(HEADS, ADAPTIVE).eval()
    at_rest = module(a, b)
    assert torch.equal(module.centre, torch.zeros(3))
    torch.testing.assert_close(at_rest, module(a, b))

    module.train()
    tau = module(a, b)
    inner = (module.embed(a) * module.embed(b)).sum(-1).mean(0)
    torch.testing.assert_close(module.centre, inner.detach())
    torch.testing.assert_close(tau.mean(0), torch.full((3,), 0.1), rtol=0.05, atol=0)
    monkeypatch.setattr(distributed, "mean", lambda value: value + 1)  # whatever the other processes have
    module(a, b)
    torch.testing.assert_close(module.centre, inner.detach() + 0.1 / (1 - 0.9**2))
    assert int(module.batches) == 2


def test_the_running_mean_of_a_short_run_is_a_mean_of_what_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [torch.full((3,), value) for value in (0.0, 1.0, 1.0, 1.0, 1.0)]
    module = AdaptiveTemperature(HEADS, ADAPTIVE).train()
    for value in seen:
        monkeypatch.setattr(distributed, "mean", lambda _, value=value: value)
        module(_z(4).transpose(0, 1), _z(4, 1).transpose(0, 1))
    weights = 0.9 ** torch.arange(4, -1, -1)
    expected = float((weights * torch.stack(seen)[:, 0]).sum() / weights.sum())
    torch.testing.assert_close(module.centre, torch.full((3,), expected))
    assert expected == pytest.approx(0.84, abs=0.005)  # and not the 0.04 that a mean started at its first value has


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_paired_rows_by_finite_differences(kind: type[AdaptiveTemperature]) -> None:
    module = kind(HEADS, ADAPTIVE).double().eval()
    a, b = (_z(3, seed).transpose(0, 1).double().requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(module, (a, b))


def test_the_names_in_checkpoints_stay() -> None:
    layers = [f"phi.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")]
    assert set(AdaptiveTemperature(HEADS, ADAPTIVE).state_dict()) == {"gain", "bias", "centre", "batches", *layers}
    assert not ConstantTemperature(0.2).state_dict()
