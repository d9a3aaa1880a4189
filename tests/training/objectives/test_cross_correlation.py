from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from training.objectives.cross_correlation import Regulariser, correlation, cross_correlation_loss

C, N, D = 3, 7, 4
LAMBDA = 5e-3


def _views(seed: int, heads: int = C) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, N, heads, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (a * 3 + 1).requires_grad_(), (b + 0.7 * a).requires_grad_()


def _matrices(seed: int, heads: int = C) -> tuple[Tensor, Tensor]:
    corr, tau = torch.rand(2, heads, D, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (corr * 2 - 1).requires_grad_(), (tau * 1.5 + 0.5).requires_grad_()


@pytest.mark.parametrize("heads", [1, C])
def test_the_correlation_equals_its_transcription(heads: int) -> None:
    a, b = _views(1, heads)
    ours = correlation(a, b)
    x, y = a.detach().numpy(), b.detach().numpy()
    for c in range(heads):
        for j in range(D):
            for k in range(D):
                u, v = x[:, c, j] - x[:, c, j].mean(), y[:, c, k] - y[:, c, k].mean()
                expected = np.mean(u * v) / math.sqrt((np.mean(u * u) + 1e-5) * (np.mean(v * v) + 1e-5))
                assert ours[c, j, k].item() == pytest.approx(expected, abs=1e-12)
        exact = np.corrcoef(x[:, c].T, y[:, c].T)[:D, D:]  # and without eps it is everyone's correlation
        np.testing.assert_allclose(correlation(a, b, eps=0.0)[c].detach().numpy(), exact, atol=1e-12)
    assert torch.autograd.gradcheck(correlation, (a, b))


@pytest.mark.parametrize("regulariser", ["likelihood", "printed"])
@pytest.mark.parametrize("heads", [1, C])
@pytest.mark.parametrize(("beta", "eta"), [(1.0, 4.0), (0.3, 1.0), (0.0, 1.0)])
def test_equals_its_transcription(regulariser: Regulariser, beta: float, eta: float, heads: int) -> None:
    corr, tau = _matrices(2, heads)
    total = 0.0
    d_corr, d_tau = torch.zeros_like(corr), torch.zeros_like(tau)
    weight = {"printed": -beta, "likelihood": LAMBDA * beta}[regulariser]
    for c in range(heads):
        for j in range(D):
            for k in range(D):
                r, t = corr[c, j, k].item(), tau[c, j, k].item()
                omega, slope = eta * math.log(t) + 1 / t, eta / t - 1 / t**2
                if j == k:
                    total += (1 - r / t) ** 2 + beta * omega
                    d_corr[c, j, k] = -2 * (1 - r / t) / t
                    d_tau[c, j, k] = 2 * (1 - r / t) * r / t**2 + beta * slope
                else:
                    total += LAMBDA * r**2 / t + weight * omega
                    d_corr[c, j, k] = 2 * LAMBDA * r / t
                    d_tau[c, j, k] = -LAMBDA * r**2 / t**2 + weight * slope

    def loss(corr: Tensor, tau: Tensor) -> Tensor:
        return cross_correlation_loss(corr, tau, redundancy=LAMBDA, beta=beta, eta=eta, regulariser=regulariser)

    assert loss(corr, tau).item() == pytest.approx(total / heads, abs=1e-12)
    ours = torch.autograd.grad(loss(corr, tau), (corr, tau))
    for mine, theirs in zip(ours, (d_corr, d_tau), strict=True):
        torch.testing.assert_close(mine, theirs / heads, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(loss, (corr, tau))


def test_a_temperature_of_one_is_barlow_twins() -> None:
    corr, _ = _matrices(3)
    eye = torch.eye(D, dtype=torch.bool)
    weight = LAMBDA + (1 - LAMBDA) * eye.double()
    standard = (weight * (corr - eye.double()) ** 2).sum((1, 2)).mean()
    constant = cross_correlation_loss(corr, torch.tensor(1.0), redundancy=LAMBDA, beta=1.0, eta=4.0)
    everywhere = cross_correlation_loss(corr, torch.ones_like(corr), redundancy=LAMBDA, beta=1.0, eta=4.0)
    torch.testing.assert_close(constant, standard, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(everywhere, standard + D + LAMBDA * D * (D - 1))  # Ω(1) = 1, without gradient
    (expected,) = torch.autograd.grad(standard, corr)
    for loss in (constant, everywhere):
        torch.testing.assert_close(torch.autograd.grad(loss, corr)[0], expected, rtol=1e-13, atol=1e-13)


def test_views_may_be_swapped_and_the_batch_reordered() -> None:
    a, b = _views(4)
    torch.testing.assert_close(correlation(b, a), correlation(a, b).transpose(1, 2), rtol=1e-12, atol=1e-12)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(correlation(a[order], b[order]), correlation(a, b), rtol=1e-12, atol=1e-12)
    corr, tau = _matrices(5)
    one, other = (
        cross_correlation_loss(*pair, redundancy=LAMBDA, beta=1.0)
        for pair in ((corr, tau), (corr.transpose(1, 2), tau.transpose(1, 2)))
    )
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def _best_tau(value: float, place: tuple[int, int], **options: object) -> float:
    """Where, of 0.3 to 3, the loss is least in the τ of one place, correlations elsewhere those of the identity."""
    corr = torch.eye(2, dtype=torch.float64)[None].clone()
    corr[0][place] = value
    grid = torch.linspace(0.3, 3, 136, dtype=torch.float64)
    losses = []
    for t in grid:
        tau = torch.ones(1, 2, 2, dtype=torch.float64)
        tau[0][place] = t
        losses.append(cross_correlation_loss(corr, tau, redundancy=LAMBDA, beta=1.0, eta=1.0, **options))  # type: ignore[arg-type]
    return grid[torch.stack(losses).argmin()].item()


def test_off_diagonal_temperatures_rest_inside_and_the_printed_ones_at_a_bound() -> None:
    for r in (0.0, 0.3, 0.8):
        assert _best_tau(r, (0, 1)) == pytest.approx(1 + r**2, abs=0.011)  # (β + C²)/(βη)
        assert _best_tau(r, (0, 1), regulariser="printed") == pytest.approx(0.3)
    assert _best_tau(1.0, (0, 0)) == pytest.approx(1.0, abs=0.011)
    assert 0.5 < _best_tau(0.5, (0, 0)) < 1


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("regulariser", ["likelihood", "printed"])
@pytest.mark.parametrize("bound", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("rows", ["zero", "same", "two channels alike", "opposite"])
def test_no_nan(autocast: bool, regulariser: Regulariser, bound: float, rows: str) -> None:
    a = torch.randn(N, C, D, generator=torch.Generator().manual_seed(0))
    a = {
        "zero": torch.zeros_like(a),
        "same": a[:1].expand(N, C, D),
        "two channels alike": a[:, :, :1].expand(N, C, D),
        "opposite": a,
    }[rows]
    a = a.clone().requires_grad_()
    tau = torch.full((C, D, D), bound, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        corr = correlation(a, -a if rows == "opposite" else a)
        loss = cross_correlation_loss(corr, tau, redundancy=LAMBDA, beta=1.0, eta=64.0, regulariser=regulariser)
    loss.backward()
    assert corr.dtype == loss.dtype == torch.float32
    assert corr.abs().max() <= 1 + 1e-6
    assert torch.isfinite(loss)
    for value in (a, tau):
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()


def test_half_precision_rows_are_correlated_in_float32() -> None:
    a, b = (view.detach().bfloat16() for view in _views(6))
    torch.testing.assert_close(correlation(a, b), correlation(a.float(), b.float()), rtol=0, atol=0)


def test_shapes_and_names_are_checked() -> None:
    corr, tau = _matrices(7)
    with pytest.raises(ValueError, match="wanted two"):
        correlation(corr, corr[:1])
    with pytest.raises(ValueError, match="wanted corr"):
        cross_correlation_loss(corr[:, :2], tau, redundancy=LAMBDA)
    with pytest.raises(ValueError, match="neither likelihood nor printed"):
        cross_correlation_loss(corr, tau, redundancy=LAMBDA, regulariser="none")  # type: ignore[arg-type]
