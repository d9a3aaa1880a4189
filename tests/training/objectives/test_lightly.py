"""A second witness: lightly's published losses give the values and gradients of ours in the standard form."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.model.temperature import ConstantTemperature
from training.objectives.contrastive import contrast
from training.objectives.cross_correlation import correlation, cross_correlation_loss
from training.objectives.negative_cosine import negative_cosine_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss

B, D, QUEUE = 8, 6, 16


def _outputs(seed: int, rows: int = B, count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, D, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(count)]


def _agree(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for mine, other in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("chunk", [2**25, 50])
def test_simclr(temperature: float, chunk: int) -> None:
    first, second = _outputs(1)
    z_CND = F.normalize(torch.cat([first, second]), dim=-1)[None]
    rows = torch.arange(2 * B)
    options = {"own_N": rows, "beta": 1.0, "eta": 4.0, "chunk_elements": chunk}
    ours = contrast(z_CND, z_CND, rows.roll(B), ConstantTemperature(temperature), **options)  # type: ignore[arg-type]
    _agree(ours, NTXentLoss(temperature=temperature)(first, second), [first, second])


def test_moco() -> None:
    queries, keys = _outputs(2)
    keys = F.normalize(keys.detach(), dim=-1)
    witness = NTXentLoss(temperature=0.1, memory_bank_size=(QUEUE, D))
    bank = F.normalize(_outputs(3, QUEUE, 1)[0].detach(), dim=-1)
    witness.memory_bank.bank = bank.clone()
    theirs = witness(queries, keys)
    rows = torch.arange(B)
    others = (torch.arange(B + QUEUE) < B) & (torch.arange(B + QUEUE) != rows[:, None])
    candidates = torch.cat([keys, bank])[None]
    z_CND = F.normalize(queries, dim=-1)[None]
    ours = contrast(z_CND, candidates, rows, ConstantTemperature(0.1), excluded_NM=others, chunk_elements=60)
    _agree(ours, theirs, [queries])


def test_simsiam() -> None:
    first, second, first_target, second_target = _outputs(4, count=4)
    witness = NegativeCosineSimilarity()
    theirs = 0.5 * (witness(first, second_target.detach()) + witness(second, first_target.detach()))
    sim, swapped = (
        (F.normalize(z, dim=-1) * F.normalize(h.detach(), dim=-1)).sum(-1)[None]
        for z, h in ((first, second_target), (second, first_target))
    )
    one = torch.ones((), dtype=torch.float64)
    _agree(negative_cosine_loss(sim, swapped, one, one, beta=1.0), theirs, [first, second])


def test_barlow_twins() -> None:
    first, second = _outputs(5, rows=32)
    corr = correlation(first[:, None], second[:, None])
    ours = cross_correlation_loss(corr, torch.ones((), dtype=torch.float64), redundancy=5e-3, beta=1.0)
    _agree(ours, BarlowTwinsLoss(lambda_param=5e-3)(first, second), [first, second])
