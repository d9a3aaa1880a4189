"""The contrastive objective against loop-written transcriptions of its formulas, in float64, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.contrastive import contrastive_loss, omega

C, N = 2, 6
POSITIVE = torch.arange(N).roll(N // 2)
SELF = torch.eye(N, dtype=torch.bool)


def _pairs(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sim = torch.rand(C, N, N, generator=generator, dtype=torch.float64) * 2 - 1
    tau = torch.rand(C, N, N, generator=generator, dtype=torch.float64) * 0.4 + 0.05
    return sim.requires_grad_(), tau.requires_grad_()


def _loop(
    sim: Tensor, tau: Tensor, beta: float, eta: float, negatives: str, k: int, with_positive: bool, heads: str
) -> Tensor:
    """The poster's row and the forms it approximates, one term at a time; a jury is one head, or all of them."""
    total = torch.zeros((), dtype=torch.float64)
    juries = [[c] for c in range(C)] if heads == "separate" else [list(range(C))]
    for jury in juries:
        for i in range(N):
            p = int(POSITIVE[i])
            others = [n for n in range(N) if n not in (i, p)]

            def a(n: int, jury: list[int] = jury, i: int = i) -> Tensor:
                found = torch.zeros((), dtype=torch.float64)
                for c in jury:
                    t = tau[c, i, n]
                    found = found + sim[c, i, n] / t - beta * (eta * torch.log(t) + 1 / t)
                return found

            def alike(n: int, jury: list[int] = jury, i: int = i) -> float:
                return sum(float(sim[c, i, n].detach()) for c in jury)

            hardest_first = sorted(others, key=lambda n: -alike(n))
            chosen = {"posterior": others, "topk": hardest_first[:k]}.get(negatives)
            if chosen is None:
                candidates = [*others, p] if with_positive else others
                star = max(candidates, key=alike)
                total = total + a(star) - a(p)
            else:
                terms = [a(n) for n in ([p, *chosen] if with_positive else chosen)]
                total = total - a(p) + torch.log(torch.stack([torch.exp(t) for t in terms]).sum())
    return total / (len(juries) * N)


@pytest.mark.parametrize("negatives", ["posterior", "topk", "max"])
@pytest.mark.parametrize("with_positive", [True, False])
@pytest.mark.parametrize("heads", ["separate", "joint"])
@pytest.mark.parametrize(("beta", "eta"), [(1.0, 4.0), (0.3, 1.0), (0.0, 1.0)])
def test_equals_its_transcription(negatives: str, with_positive: bool, heads: str, beta: float, eta: float) -> None:
    sim, tau = _pairs(1)
    options = {"beta": beta, "eta": eta, "negatives": negatives, "top_k": 2, "positive_in_denominator": with_positive}
    ours = contrastive_loss(sim, tau, POSITIVE, SELF, heads=heads, **options)  # type: ignore[arg-type]
    theirs = _loop(sim, tau, beta, eta, negatives, 2, with_positive, heads)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for mine, other in zip(torch.autograd.grad(ours, (sim, tau)), torch.autograd.grad(theirs, (sim, tau)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("negatives", ["posterior", "topk", "max"])
@pytest.mark.parametrize("heads", ["separate", "joint"])
def test_gradients_by_finite_differences(negatives: str, heads: str) -> None:
    def loss(sim: Tensor, tau: Tensor) -> Tensor:
        return contrastive_loss(
            sim,
            tau,
            POSITIVE,
            SELF,
            beta=1,
            eta=4,
            negatives=negatives,
            top_k=2,
            heads=heads,  # type: ignore[arg-type]
        )

    assert torch.autograd.gradcheck(loss, _pairs(2))


def test_a_constant_temperature_is_the_standard_loss_exactly() -> None:
    sim, _ = _pairs(3)
    logits = (sim / 0.2).masked_fill(SELF, -torch.inf)
    standard = F.cross_entropy(logits.flatten(0, 1), POSITIVE.repeat(C))
    ours = contrastive_loss(sim, torch.tensor(0.2, dtype=torch.float64), POSITIVE, SELF, beta=1.0, eta=4.0)
    everywhere = torch.full((C, N, N), 0.2, dtype=torch.float64)
    adaptive = contrastive_loss(sim, everywhere, POSITIVE, SELF, beta=1.0, eta=4.0)
    torch.testing.assert_close(ours, standard, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(adaptive, standard, rtol=1e-12, atol=1e-12)
    (mine,), (other,) = torch.autograd.grad(ours, sim), torch.autograd.grad(standard, sim)
    torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("negatives", ["posterior", "topk", "max"])
def test_one_head_that_judges_jointly_judges_alone(negatives: str) -> None:
    sim, tau = (t.detach()[:1].requires_grad_() for t in _pairs(7))
    found = []
    for heads in ("separate", "joint"):
        loss = contrastive_loss(
            sim,
            tau,
            POSITIVE,
            SELF,
            beta=1.0,
            eta=4.0,
            negatives=negatives,
            top_k=2,
            heads=heads,  # type: ignore[arg-type]
        )
        found.append([loss, *torch.autograd.grad(loss, (sim, tau))])
    for separate, joint in zip(*found, strict=True):
        assert torch.equal(separate, joint)


def test_a_constant_temperature_judged_jointly_is_one_softmax_over_summed_similarities() -> None:
    sim, _ = _pairs(8)
    logits = (sim.sum(0) / 0.6).masked_fill(SELF, -torch.inf)
    standard = F.cross_entropy(logits, POSITIVE)
    everywhere = torch.full((C, N, N), 0.6, dtype=torch.float64)
    for tau in (torch.tensor(0.6, dtype=torch.float64), everywhere):
        ours = contrastive_loss(sim, tau, POSITIVE, SELF, beta=1.0, eta=4.0, heads="joint")
        torch.testing.assert_close(ours, standard, rtol=1e-12, atol=1e-12)
        (mine,), (other,) = torch.autograd.grad(ours, sim), torch.autograd.grad(standard, sim, retain_graph=True)
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_a_collapsed_embedding_costs_the_log_of_the_candidates() -> None:
    sim = torch.ones(C, N, N)
    loss = contrastive_loss(sim, torch.full((C, N, N), 0.1), POSITIVE, SELF, beta=1.0, eta=4.0)
    assert float(loss) == pytest.approx(math.log(N - 1))


def test_the_posterior_is_never_negative_and_the_largest_term_bounds_it() -> None:
    sim, tau = _pairs(4)
    posterior = contrastive_loss(sim, tau, POSITIVE, SELF, beta=1.0, eta=4.0)
    assert posterior.item() >= 0
    all_of_them = contrastive_loss(sim, tau, POSITIVE, SELF, beta=1.0, eta=4.0, negatives="topk", top_k=99)
    torch.testing.assert_close(all_of_them, posterior)


def test_the_order_of_the_batch_does_not_matter() -> None:
    sim, tau = _pairs(5)
    order = torch.tensor([2, 0, 1, 5, 3, 4])  # both halves alike, so that i and i + N/2 stay partners
    moved = [t[:, order][:, :, order] for t in (sim, tau)]
    one = contrastive_loss(sim, tau, POSITIVE, SELF, beta=1.0, eta=4.0)
    torch.testing.assert_close(contrastive_loss(*moved, POSITIVE, SELF, beta=1.0, eta=4.0), one)


@pytest.mark.parametrize("negatives", ["posterior", "topk", "max"])
def test_extremes_stay_finite(negatives: str) -> None:
    sim = torch.tensor([-1.0, 1.0]).repeat(C, N, N // 2).requires_grad_()
    tau = torch.tensor([0.03, 0.5]).repeat(C, N, N // 2).requires_grad_()
    loss = contrastive_loss(sim, tau, POSITIVE, SELF, beta=1, eta=64, negatives=negatives)  # type: ignore[arg-type]
    loss.backward()
    assert torch.isfinite(loss)
    assert sim.grad is not None
    assert tau.grad is not None
    assert torch.isfinite(sim.grad).all()
    assert torch.isfinite(tau.grad).all()


def test_omega_is_least_at_one_over_eta() -> None:
    tau = torch.linspace(0.01, 1, 1000, dtype=torch.float64)
    assert float(tau[omega(tau, 4.0).argmin()]) == pytest.approx(1 / 4, abs=1e-3)


def test_shapes_and_names_are_checked() -> None:
    sim, tau = _pairs(6)
    with pytest.raises(ValueError, match="wanted sim"):
        contrastive_loss(sim[0], tau, POSITIVE)
    with pytest.raises(ValueError, match="none of posterior, topk, max"):
        contrastive_loss(sim, tau, POSITIVE, negatives="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="none of separate, joint"):
        contrastive_loss(sim, tau, POSITIVE, heads="all")  # type: ignore[arg-type]
