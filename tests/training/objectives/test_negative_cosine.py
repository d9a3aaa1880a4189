from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.objectives.negative_cosine import negative_cosine_loss

C, N = 3, 4


def _drawn(seed: int, heads: int = C) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    u = torch.rand(4, heads, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first, second, tau, other = (
        value.clone().requires_grad_() for value in (u[0] * 2 - 1, u[1] * 2 - 1, *(u[2:] + 0.5))
    )
    return first, second, tau, other


@pytest.mark.parametrize("heads", [1, C])
@pytest.mark.parametrize(("beta", "eta"), [(1.0, 4.0), (0.3, 1.0), (0.0, 1.0)])
def test_equals_its_transcription(beta: float, eta: float, heads: int) -> None:
    inputs = _drawn(1, heads)
    s, swapped, tau, other = (value.tolist() for value in inputs)
    total, gradients = 0.0, [torch.zeros(heads, N, dtype=torch.float64) for _ in inputs]
    for c in range(heads):
        for i in range(N):
            for k, (x, t) in enumerate(((s[c][i], tau[c][i]), (swapped[c][i], other[c][i]))):
                total += -0.5 * x / t + beta * (eta * math.log(t) + 1 / t)
                gradients[k][c, i] = -0.5 / t
                gradients[k + 2][c, i] = 0.5 * x / t**2 + beta * (eta / t - 1 / t**2)
    loss = negative_cosine_loss(*inputs, beta=beta, eta=eta)
    assert loss.item() == pytest.approx(total / (heads * N), abs=1e-12)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), gradients, strict=True):
        torch.testing.assert_close(ours, theirs / (heads * N), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *values: negative_cosine_loss(*values, beta=beta, eta=eta), inputs)


def test_a_temperature_of_one_is_simsiam() -> None:
    s, swapped, *_ = _drawn(2)
    one = torch.ones((), dtype=torch.float64)
    standard = -0.5 * s.mean() - 0.5 * swapped.mean()
    constant = negative_cosine_loss(s, swapped, one, one, beta=1.0, eta=4.0)
    assert torch.equal(constant, standard)
    everywhere = negative_cosine_loss(s, swapped, one.expand(C, N), one.expand(C, N), beta=1.0, eta=4.0)
    torch.testing.assert_close(everywhere, standard + 2.0)  # βΩ(1) = 1 for each direction, without gradient
    for other in (constant, everywhere):
        for mine, theirs in zip(
            torch.autograd.grad(other, (s, swapped)), torch.autograd.grad(standard, (s, swapped), retain_graph=True),
            strict=True,
        ):  # fmt: skip
            torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)


def test_views_may_be_swapped_and_the_batch_reordered() -> None:
    s, swapped, tau, other = _drawn(3)
    loss = negative_cosine_loss(s, swapped, tau, other, beta=1.0, eta=2.0)
    torch.testing.assert_close(negative_cosine_loss(swapped, s, other, tau, beta=1.0, eta=2.0), loss)
    order = torch.tensor([2, 0, 3, 1])
    moved = (value[:, order] for value in (s, swapped, tau, other))
    torch.testing.assert_close(negative_cosine_loss(*moved, beta=1.0, eta=2.0), loss)


def test_tau_rests_where_the_docstring_says() -> None:
    tau = torch.linspace(0.05, 3, 296, dtype=torch.float64)
    s = torch.full((1, 1), 0.6, dtype=torch.float64)
    losses = torch.stack([negative_cosine_loss(s, s, t.view(1, 1), t.view(1, 1), beta=0.8, eta=0.5) for t in tau])
    assert float(tau[losses.argmin()]) == pytest.approx((0.8 - 0.3) / (0.8 * 0.5), abs=6e-3)


def test_extremes_stay_finite() -> None:
    s = torch.tensor([[-1.0, 0.0, 1.0]]).requires_grad_()
    for bound in (0.03, 0.5, 2.0):
        tau = torch.full((1, 3), bound, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = negative_cosine_loss(s, s, tau, tau, beta=1.0, eta=64.0)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert s.grad is not None
        assert tau.grad is not None
        assert torch.isfinite(s.grad).all()
        assert torch.isfinite(tau.grad).all()


def test_shapes_are_checked() -> None:
    s, swapped, tau, other = _drawn(4)
    with pytest.raises(ValueError, match="wanted similarities"):
        negative_cosine_loss(s, swapped[:1], tau, other)
    with pytest.raises(ValueError, match="wanted similarities"):
        negative_cosine_loss(s, swapped, tau[0], other)
